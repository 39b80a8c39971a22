// WatchApi: the routes that tell of changes as they come: streams of server-sent events, and GET of
// a job, which may wait. docs/api.md describes them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/thread.h"
#include "base/timer.h"
#include "manager/change_wait.h"
#include "manager/clusters.h"
#include "manager/event_stream.h"
#include "manager/order_hub.h"
#include "manager/router.h"
#include "manager/shown_jobs.h"

namespace hearth::manager {

class WatchApi {
 public:
  static constexpr std::chrono::seconds kLongestWait{60};

  WatchApi(OrderHub& orders, Clusters& clusters, const Tokens& tokens);
  // The server's sessions are gone.
  ~WatchApi();

  // Adds every route. `this` must outlive the router's use.
  void AddTo(Router& router);

 private:
  using Revision = JobFeed::Revision;

  void Show(const ApiCall& call, Router::Respond respond);
  Result<std::string> Render(JobId id, Revision revision) const;
  Result<ApiAnswer> WatchJob(const ApiCall& call);
  Result<ApiAnswer> WatchPullJob(const ApiCall& call);
  Result<ApiAnswer> WatchAll(const ApiCall& call);
  // What a client says that it has.
  std::optional<Revision> LastEventOf(const ApiCall& call) const;
  struct OneJob {
    JobId id = 0;
    std::string event;
    // As it is at that revision, which was read before, or later.
    std::function<Result<std::string>(JobId, Revision)> show;
  };
  Result<ApiAnswer> StreamOf(OneJob job, const ApiCall& call);
  Result<EventStream::Events> EventsOf(const OneJob& job, std::optional<Revision> after) const;
  Result<EventStream::Events> AllEvents(std::optional<Revision> after) const;
  ChangeWait::Tools tools() { return {orders_.feed(), timers_, workers_}; }

  std::function<bool()> AllowedTo(const ApiCall& call) const;

  OrderHub& orders_;
  Clusters& clusters_;
  const Tokens& tokens_;
  mutable ShownJobs shown_;
  TimerQueue timers_;
  ThreadPool workers_;
};

}  // namespace hearth::manager
