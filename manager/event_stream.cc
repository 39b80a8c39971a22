#include "manager/event_stream.h"

#include <utility>

namespace hearth::manager {

namespace {

// Milliseconds after which a client comes again.
constexpr std::string_view kRetry = "retry: 1000\n\n";
constexpr std::string_view kBeat = ":\n\n";

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

std::string EventText(std::string_view id, std::string_view event, std::string_view data) {
  while (data.ends_with('\n')) data.remove_suffix(1);
  std::string text;
  text.reserve(id.size() + event.size() + data.size() + 32);
  text.append("id: ").append(id).append("\nevent: ").append(event);
  text.append("\ndata: ").append(data).append("\n\n");
  return text;
}

void EventStream::Next(std::function<void(Result<net::BodyChunk>)> ready) {
  ChangeWait::Start({.tools = options_.tools,
                     .job = options_.job,
                     .not_before = not_before_,
                     .until = Now() + options_.heartbeat,
                     .attempt =
                         [weak = weak_from_this(), ready = std::move(ready)](bool last) {
                           const auto self = weak.lock();
                           return self == nullptr || self->Send(ready, last);
                         },
                     .gone = gone_.get_token()});
}

bool EventStream::Send(const std::function<void(Result<net::BodyChunk>)>& ready, bool last) {
  if (!options_.allowed()) {
    ready(Unauthenticated("the token is not valid (any more)"));
    return true;
  }
  auto read = options_.read(after_);
  if (!read.ok()) {
    ready(read.status());
    return true;
  }
  const Events& events = *read;
  net::BodyChunk chunk;
  if (!begun_) chunk.data = kRetry;
  chunk.data += events.text;
  chunk.last = events.last || options_.tools.feed.ended();
  if (!events.text.empty()) {
    after_ = events.upto;
    not_before_ = Now() + ChangeWait::kMinPause;
  }
  if (chunk.data.empty() && !chunk.last) {
    if (!last) return false;
    chunk.data = kBeat;
  }
  begun_ = true;
  ready(std::move(chunk));
  return true;
}

}  // namespace hearth::manager
