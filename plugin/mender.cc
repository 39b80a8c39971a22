#include "plugin/mender.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "base/log.h"

namespace hearth::plugin {

struct Mender::Waiter {
  std::string name;
  std::function<void(Status)> done;
  std::atomic<bool> answered{false};
  TimerQueue::Id timer = 0;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;

  void Answer(const Status& status) {
    if (!answered.exchange(true)) done(status);
  }
};

namespace {

// Of a snapshot whose files could not be brought back.
Status Failed(const Status& lost, const Status& why) {
  if (why.code() == StatusCode::kCancelled) return Unavailable(why.message());
  return FailedPrecondition(lost.message() + " and could not be brought back: " + why.message() +
                            " (remove the image and pull it again, or run hearth repair)");
}

}  // namespace

void Mender::Start() {
  const size_t lost = options_.store.snapshots().LostLayers().size();
  if (lost == 0 && !options_.store.NeedsMending()) return;
  LOG_WARNING("the machine lost power: what was not on disk is brought back", {{"layers", lost}});
  {
    MutexLock lock(mutex_);
    started_ = working_ = true;
  }
  thread_ = std::thread([this] { Run(); });
}

void Mender::Stop() {
  stop_.request_stop();
  {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  Settle(Cancelled("the node is stopping"));
}

void Mender::OnContainerd() {
  MutexLock lock(mutex_);
  if (!std::exchange(containerd_answers_, true)) wanted_ = true;
  changed_.NotifyAll();
}

// --- who waits ---

void Mender::Await(const std::string& name, Deadline deadline, const std::stop_token& stop,
                   std::function<void(Status)> done) {
  const Status now = options_.store.snapshots().CheckFiles(name);
  if (now.ok()) return done(now);
  const bool lost = now.code() == StatusCode::kFailedPrecondition;
  const auto waiter = std::make_shared<Waiter>();
  waiter->name = name;
  waiter->done = std::move(done);
  const std::weak_ptr<Waiter> weak = waiter;  // or the callbacks would keep it alive
  const auto give_up = [this, weak](const Status& status) {
    const auto alive = weak.lock();
    if (!alive) return;
    alive->Answer(status);
    Drop(alive);
  };
  waiter->timer = options_.timers.At(deadline.at(), [give_up, now] {
    give_up(Unavailable(now.message() + " and are still being brought back (try again soon)"));
  });
  waiter->on_stop.emplace(stop, [give_up] { give_up(Cancelled("the caller went away")); });
  std::optional<Status> answer;
  {
    MutexLock lock(mutex_);
    const bool fresh = SteadyTime::clock::now() < failed_at_ + options_.fresh;
    if (!started_ || stop_.stop_requested() || (!working_ && !lost)) {
      answer = now;
    } else if (!working_ && fresh) {
      answer = Failed(now, failure_);
    } else if (waiters_.size() >= kMaxMenderWaits) {
      answer = ResourceExhausted(std::to_string(waiters_.size()) + " callers wait for lost layers");
    } else {
      waiters_.push_back(waiter);
      if (!working_) wanted_ = working_ = true;
      changed_.NotifyAll();
    }
  }
  if (answer) {
    options_.timers.Cancel(waiter->timer);
    waiter->Answer(*answer);
    return;
  }
  Recheck();  // it may have come back just now
}

void Mender::Drop(const std::shared_ptr<Waiter>& waiter) {
  MutexLock lock(mutex_);
  waiters_.remove(waiter);
}

void Mender::Recheck() { Settle(OkStatus()); }

void Mender::Settle(const Status& failure) {
  Waiters waiting;
  {
    MutexLock lock(mutex_);
    waiting = waiters_;
  }
  for (const auto& waiter : waiting) {
    Status status = OkStatus();
    if (!waiter->answered) {
      status = options_.store.snapshots().CheckFiles(waiter->name);
      if (!status.ok() && failure.ok()) continue;
      if (status.code() == StatusCode::kFailedPrecondition) status = Failed(status, failure);
    }
    waiter->Answer(status);
    options_.timers.Cancel(waiter->timer);
    Drop(waiter);
  }
}

// --- the work ---

void Mender::Run() {
  NameThread("mender");
  auto pause = options_.first_pause;
  for (int attempt = 1;;) {
    const Status mended = Mend();
    if (stop_.stop_requested()) return;
    if (mended.ok()) {
      LOG_INFO("what the power loss took is back");
      const Status noted = options_.store.Mended();
      if (!noted.ok()) LOG_WARNING("the next start looks again", {{"error", noted}});
    } else {
      LOG_WARNING("not all that the power loss took is back",
                  {{"error", mended}, {"attempt", attempt}, {"attempts", options_.attempts}});
    }
    {
      MutexLock lock(mutex_);
      working_ = wanted_ = false;
      failure_ = mended;
      failed_at_ = SteadyTime::clock::now();
      if (mended.ok()) started_ = false;
    }
    Settle(mended.ok() ? NotFound("containerd does not name it") : mended);
    if (mended.ok()) return;
    const bool more = attempt < options_.attempts;
    const Woken woken = Pause(more ? pause : std::chrono::hours(24 * 365));
    if (woken == Woken::kByStop) return;
    // Who needs a layer must not use up what is left for all others; making way is no attempt.
    if (woken == Woken::kByNeed || mended.code() == StatusCode::kCancelled) continue;
    ++attempt;
    pause = std::min(2 * pause, options_.longest_pause);
  }
}

Mender::Woken Mender::Pause(std::chrono::milliseconds pause) {
  const auto until = SteadyTime::clock::now() + pause;
  MutexLock lock(mutex_);
  while (!wanted_ && !stop_.stop_requested() && changed_.WaitUntil(mutex_, until)) {
  }
  working_ = true;
  if (stop_.stop_requested()) return Woken::kByStop;
  return wanted_ ? Woken::kByNeed : Woken::kByTime;
}

Status Mender::Mend() {
  Status status = RebuildFromBlobs();
  if (stop_.stop_requested()) return Cancelled("the node is stopping");
  if (!options_.repair) return status;
  const Status answers = WaitForContainerd();
  if (!answers.ok()) return status.ok() ? answers : status.Annotate(answers.message());
  const Status repaired = options_.repair(stop_.get_token());
  if (!repaired.ok()) return repaired;
  const auto lost = options_.store.snapshots().LostLayers();
  if (lost.empty()) return OkStatus();
  // No snapshot of containerd's has it, so that nobody waits for it.
  return status.ok() ? NotFound("layer " + lost.front().chain.ToString() + " is not back") : status;
}

Status Mender::RebuildFromBlobs() {
  std::vector<std::shared_ptr<LayerBuild>> builds;
  Status first;
  for (const store::LayerInfo& lost : options_.store.snapshots().LostLayers()) {
    const Status begun = Begin(lost, builds);
    if (first.ok() && !begun.ok()) first = begun.Annotate("layer " + lost.chain.ToString());
  }
  for (const auto& build : builds) {
    const Status built = build->Wait(stop_.get_token());
    if (first.ok()) first = built;
    Recheck();
  }
  return first;
}

Status Mender::Begin(const store::LayerInfo& lost,
                     std::vector<std::shared_ptr<LayerBuild>>& builds) {
  auto& store = options_.store;
  Status why = NotFound("no image here has it");
  auto candidates = options_.chains.Find(lost.chain, "");
  // First those that need no registry: a build that has begun is not tried another way.
  std::stable_partition(candidates.begin(), candidates.end(), [&](const auto& candidate) {
    const auto& layers = candidate.image->layers;
    return std::all_of(layers.begin(), layers.begin() + candidate.index + 1, [&](const auto& one) {
      return store.snapshots().FindLayer(one.chain).ok() ||
             store.blobs().Info(one.blob.digest).ok();
    });
  });
  for (const auto& candidate : candidates) {
    why = OkStatus();
    for (size_t i = 0; i <= candidate.index && why.ok(); ++i) {
      const ImageLayer& layer = candidate.image->layers[i];
      if (store.snapshots().FindLayer(layer.chain).ok()) continue;
      if (candidate.origins.empty() && !store.blobs().Info(layer.blob.digest).ok()) {
        why = NotFound("blob " + layer.blob.digest.ToString() + " is not here");
        continue;
      }
      auto build = options_.builder.Build({.chain = layer.chain,
                                           .parent_chain = candidate.image->ParentChain(i),
                                           .diff_id = layer.diff_id,
                                           .blob = layer.blob,
                                           .origins = candidate.origins});
      why = build.status();
      if (build.ok()) builds.push_back(std::move(*build));
    }
    if (why.ok()) return why;
  }
  return why;
}

Status Mender::WaitForContainerd() {
  const auto until = SteadyTime::clock::now() + options_.containerd_patience;
  MutexLock lock(mutex_);
  while (!containerd_answers_ && !stop_.stop_requested() && changed_.WaitUntil(mutex_, until)) {
  }
  if (stop_.stop_requested()) return Cancelled("the node is stopping");
  return containerd_answers_ ? OkStatus() : Unavailable("containerd does not answer");
}

}  // namespace hearth::plugin
