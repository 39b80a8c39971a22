// Mender: after a power loss, brings back by itself what that took.
//
// A layer whose files were not on disk yet is unpacked again from the store's own blob, at once and
// without containerd; what is left, as layers whose blobs went too and names that only containerd
// still has, is left to `repair`, as soon as containerd answers. Where that fails it is tried
// again, less and less often. Whoever needs such a layer meanwhile waits for it, holding no thread.
// Any thread, but Start() and Stop().
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "plugin/chain_index.h"
#include "plugin/layer_builder.h"
#include "store/store.h"

namespace hearth::plugin {

// Beyond these a caller is told to come again.
inline constexpr size_t kMaxMenderWaits = 4096;

class Mender {
 public:
  struct Options {
    store::Store& store;
    LayerBuilder& builder;
    ChainIndex& chains;
    TimerQueue& timers;
    // Brings back all that containerd names, as `hearth repair` does, and says what it could not.
    // It calls Recheck() as things come back. Null = there is no containerd.
    std::function<Status(std::stop_token)> repair = {};
    std::chrono::milliseconds first_pause{5'000};  // doubled each time
    std::chrono::milliseconds longest_pause{600'000};
    int attempts = 12;                       // then only when somebody needs a layer
    std::chrono::milliseconds fresh{5'000};  // a failure so new is the answer
    // Beyond it an attempt ends without what containerd would say; its first answer begins another.
    std::chrono::milliseconds containerd_patience{30'000};
  };
  explicit Mender(Options options) : options_(std::move(options)) {}
  ~Mender() { Stop(); }

  // Begins where there is something to mend; else this does nothing, ever.
  void Start();
  // Ends the work and fails who waits. Idempotent.
  void Stop();
  // containerd answered, so that it can be asked.
  void OnContainerd();
  // A layer or a name is back: who waited for it goes on.
  void Recheck();

  // Calls `done` once, from any thread (also directly): OK when the files of snapshot `name` and of
  // all below it are here. kUnavailable: they are still being brought back at `deadline`;
  // kFailedPrecondition: they could not be, and why; kNotFound: nobody knows the snapshot;
  // kCancelled: `stop`.
  void Await(const std::string& name, Deadline deadline, const std::stop_token& stop,
             std::function<void(Status)> done);

 private:
  struct Waiter;
  using Waiters = std::list<std::shared_ptr<Waiter>>;

  void Run();
  // All that can be had now. OK when nothing is lost any more.
  Status Mend();
  Status RebuildFromBlobs();
  // The build of that layer and of what is missing below it.
  Status Begin(const store::LayerInfo& lost, std::vector<std::shared_ptr<LayerBuild>>& builds);
  Status WaitForContainerd();
  enum class Woken { kByTime, kByNeed, kByStop };
  Woken Pause(std::chrono::milliseconds pause);
  // `failure`: nothing more comes; those who wait still are told so.
  void Settle(const Status& failure);
  void Drop(const std::shared_ptr<Waiter>& waiter);

  const Options options_;
  std::stop_source stop_;
  Mutex mutex_;
  CondVar changed_;
  bool started_ GUARDED_BY(mutex_) = false;
  bool working_ GUARDED_BY(mutex_) = false;  // something may come back yet
  bool wanted_ GUARDED_BY(mutex_) = false;   // somebody needs what is lost
  bool containerd_answers_ GUARDED_BY(mutex_) = false;
  SteadyTime failed_at_ GUARDED_BY(mutex_);
  Status failure_ GUARDED_BY(mutex_);  // of the last attempt
  Waiters waiters_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace hearth::plugin
