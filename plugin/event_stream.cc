#include "plugin/event_stream.h"

#include <utility>

namespace hearth::plugin {

void EventStream::Next(std::function<void(Result<net::BodyChunk>)> ready) {
  std::function<void()> tell;
  {
    MutexLock lock(mutex_);
    ready_ = std::move(ready);
    tell = TakeReady();
  }
  if (tell) tell();
}

void EventStream::Write(std::string line, bool replaceable) {
  line += '\n';
  std::function<void()> tell;
  {
    MutexLock lock(mutex_);
    if (ended_) return;
    if (lines_.size() >= kMaxLines) {
      std::erase_if(lines_, [](const Line& old) { return old.replaceable; });
    }
    // The last line says how it ended: what gives way is the oldest one.
    if (lines_.size() >= kMaxLines) lines_.pop_front();
    lines_.push_back({std::move(line), replaceable});
    tell = TakeReady();
  }
  if (tell) tell();
}

void EventStream::End() {
  std::function<void()> tell;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    tell = TakeReady();
  }
  if (tell) tell();
}

std::function<void()> EventStream::TakeReady() {
  if (!ready_ || (lines_.empty() && !ended_)) return nullptr;
  net::BodyChunk chunk;
  for (const auto& line : lines_) chunk.data += line.text;
  lines_.clear();
  chunk.last = ended_;
  return [ready = std::exchange(ready_, nullptr), chunk = std::move(chunk)] { ready(chunk); };
}

}  // namespace hearth::plugin
