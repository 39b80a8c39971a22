// EventStream: one client's stream of server-sent events about jobs.
//
// There is no queue: what a client gets next is read when it has taken what came before.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "manager/change_wait.h"
#include "manager/job_feed.h"
#include "net/http_server.h"

namespace hearth::manager {

class EventStream final : public net::BodySource, public std::enable_shared_from_this<EventStream> {
 public:
  // So that both sides notice one that is gone.
  static constexpr std::chrono::seconds kHeartbeat{15};

  struct Events {
    std::string text;            // "" = there is nothing new
    JobFeed::Revision upto = 0;  // what it tells of
    bool last = false;           // no more will come
  };
  struct Options {
    ChangeWait::Tools tools;
    std::shared_ptr<void> place;              // of JobFeed::Enter()
    std::optional<JobId> job = std::nullopt;  // none = every job
    // What the client has; none = nothing.
    std::optional<JobFeed::Revision> after = std::nullopt;
    // On a worker. An error cuts the stream off, so that the client comes again.
    std::function<Result<Events>(std::optional<JobFeed::Revision> after)> read;
    // Whether the client may still read; asked before each chunk.
    std::function<bool()> allowed = [] { return true; };
    std::chrono::milliseconds heartbeat = kHeartbeat;
  };
  explicit EventStream(Options options) : options_(std::move(options)), after_(options_.after) {}
  ~EventStream() override { gone_.request_stop(); }

  void Next(std::function<void(Result<net::BodyChunk>)> ready) override;

 private:
  // Whether there was something to send.
  bool Send(const std::function<void(Result<net::BodyChunk>)>& ready, bool last);

  const Options options_;
  std::stop_source gone_;
  // Of the one wait that there is at a time.
  std::optional<JobFeed::Revision> after_;
  bool begun_ = false;
  SteadyTime not_before_{};
};

// One event: "id: …\nevent: job\ndata: {…}\n\n". `data` is one line, a newline at its end is cut.
std::string EventText(std::string_view id, std::string_view event, std::string_view data);

}  // namespace hearth::manager
