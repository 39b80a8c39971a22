// BlobBody: bytes of a blob as the body of an HTTP answer, sent from its file while it grows.
//
// The last byte is held back until the digest was verified, so that a client never gets a whole
// body of wrong bytes: it sees a truncated one and turns to the origin. Waits hold no thread and
// end when nothing arrived for `stall_timeout`. One caller at a time, as BodySource says.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/status.h"
#include "base/timer.h"
#include "net/http_server.h"
#include "p2p/swarm.h"
#include "plugin/byte_range.h"
#include "store/blob.h"

namespace hearth::plugin {

class BlobBody final : public net::BodySource, public std::enable_shared_from_this<BlobBody> {
 public:
  struct Options {
    TimerQueue& timers;
    std::chrono::milliseconds stall_timeout{10'000};
    // A client that asked for a part far ahead gets its headers by then, if anything arrives.
    std::chrono::milliseconds head_timeout{15'000};
  };
  // `share` keeps the transfer going; null for a complete blob.
  BlobBody(std::shared_ptr<store::Blob> blob, std::shared_ptr<p2p::Fetch> share, ByteRange range,
           Options options);

  // Calls `ready` once, from any thread or directly: OK when there is something to send, else why
  // nothing ever will be. To be called before the first Next(), if at all.
  void WhenReady(std::function<void(Status)> ready);
  void Next(std::function<void(Result<net::BodyChunk>)> ready) override;

 private:
  struct Wait;
  // Bytes that may be sent now.
  uint64_t Sendable() const;
  void Await(std::chrono::milliseconds limit, std::function<void(Status)> ready);
  void Watch(const std::shared_ptr<Wait>& wait);

  const std::shared_ptr<store::Blob> blob_;
  const std::shared_ptr<p2p::Fetch> share_;
  const ByteRange range_;
  const Options options_;
  uint64_t cursor_bytes_;
};

}  // namespace hearth::plugin
