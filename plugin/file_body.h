// FileBody: a file by URL as the body of an HTTP answer, sent from its file while it grows.
//
// Where a digest is announced, the last byte is held back until it was checked. Waits hold no
// thread and end when nothing arrived for `stall_timeout`. One caller at a time, as BodySource
// says.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "base/timer.h"
#include "net/http_server.h"
#include "plugin/byte_range.h"
#include "plugin/growing_file.h"

namespace hearth::plugin {

class FileBody final : public net::BodySource, public std::enable_shared_from_this<FileBody> {
 public:
  // `file` has begun; `wanted` is from its Want(). Without a `range` the body is the whole file,
  // however long it becomes. `timers` must outlive the body.
  FileBody(std::shared_ptr<GrowingFile> file, std::shared_ptr<void> wanted,
           std::optional<ByteRange> range, TimerQueue& timers,
           std::chrono::milliseconds stall_timeout);

  void Next(std::function<void(Result<net::BodyChunk>)> ready) override;

 private:
  struct Wait;
  // End of what may be sent now.
  uint64_t SendableEnd(const GrowingFile::Glance& now) const;

  const std::shared_ptr<GrowingFile> file_;
  const std::shared_ptr<void> wanted_;
  const GrowingFile::State begun_;
  const std::optional<ByteRange> range_;
  TimerQueue& timers_;
  const std::chrono::milliseconds stall_timeout_;
  uint64_t cursor_bytes_;
};

}  // namespace hearth::plugin
