// EventStream: lines of JSON that a worker writes while an HTTP answer sends them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/thread.h"
#include "net/http_server.h"

namespace hearth::plugin {

// One reader. One that is slower than the writers loses replaceable lines when there are kMaxLines,
// and then the oldest ones; never the last.
class EventStream final : public net::BodySource {
 public:
  static constexpr size_t kMaxLines = 4096;

  void Next(std::function<void(Result<net::BodyChunk>)> ready) override;
  // Appends `line` and a newline. `replaceable`: may be dropped when the reader lags behind.
  void Write(std::string line, bool replaceable = false);
  // Nothing follows.
  void End();

 private:
  // Takes what there is; null when nothing can be told yet.
  std::function<void()> TakeReady() REQUIRES(mutex_);

  struct Line {
    std::string text;
    bool replaceable;
  };
  Mutex mutex_;
  std::deque<Line> lines_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
  std::function<void(Result<net::BodyChunk>)> ready_ GUARDED_BY(mutex_);
};

}  // namespace hearth::plugin
