#include "manager/job_feed.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "base/digest.h"
#include "base/units.h"

namespace hearth::manager {

namespace {

// A manager that was restarted counts anew: what it says must not be taken for the old one's.
std::string RandomName() {
  std::array<uint8_t, 8> bytes{};
  CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  return ToHex(bytes);
}

}  // namespace

JobFeed::JobFeed() : process_(RandomName()), readers_(std::make_shared<std::atomic<size_t>>(0)) {}

void JobFeed::Changed(JobId id) { Tell(id, false); }

void JobFeed::Removed(JobId id) { Tell(id, true); }

// The watchers are told without the lock: the last owner of one may be here.
void JobFeed::Tell(JobId id, bool removed) {
  std::vector<std::shared_ptr<Watcher>> told;
  const auto collect = [&told](Watchers& watchers) {
    std::erase_if(watchers, [&told](const std::weak_ptr<Watcher>& weak) {
      auto watcher = weak.lock();
      if (watcher == nullptr) return true;
      told.push_back(std::move(watcher));
      return false;
    });
  };
  {
    MutexLock lock(mutex_);
    const Revision revision = ++last_;
    if (const auto known = revisions_.find(id); known != revisions_.end()) {
      changes_.erase(known->second);
      revisions_.erase(known);
    }
    if (removed) {
      removed_.emplace_back(revision, id);
      if (removed_.size() > kMaxRemoved) {
        forgotten_ = removed_.front().first;
        removed_.pop_front();
      }
    } else {
      revisions_[id] = revision;
      changes_[revision] = id;
    }
    collect(watchers_of_all_);
    if (const auto found = watchers_.find(id); found != watchers_.end()) {
      collect(found->second);
      if (found->second.empty()) watchers_.erase(found);
    }
  }
  for (const auto& watcher : told) watcher->Changed();
}

JobFeed::Revision JobFeed::Last() const {
  MutexLock lock(mutex_);
  return last_;
}

JobFeed::Revision JobFeed::Of(JobId id) const {
  MutexLock lock(mutex_);
  const auto found = revisions_.find(id);
  return found == revisions_.end() ? 0 : found->second;
}

JobFeed::Changes JobFeed::After(Revision revision, size_t limit) const {
  Changes out;
  MutexLock lock(mutex_);
  out.lost = revision < forgotten_;
  auto changed = changes_.upper_bound(revision);
  auto removed =
      std::ranges::upper_bound(removed_, revision, {}, &std::pair<Revision, JobId>::first);
  while (out.list.size() < limit && (changed != changes_.end() || removed != removed_.end())) {
    const bool removal =
        changed == changes_.end() || (removed != removed_.end() && removed->first < changed->first);
    if (removal) {
      out.list.push_back({removed->first, removed->second, true});
      ++removed;
    } else {
      out.list.push_back({changed->first, changed->second, false});
      ++changed;
    }
  }
  return out;
}

std::string JobFeed::NameOf(Revision revision) const {
  return process_ + "-" + std::to_string(revision);
}

std::optional<JobFeed::Revision> JobFeed::Parse(std::string_view name) const {
  if (!name.starts_with(process_ + "-")) return std::nullopt;
  const auto revision = ParseDecimal(name.substr(process_.size() + 1));
  if (!revision || *revision > Last()) return std::nullopt;
  return *revision;
}

void JobFeed::Watch(const std::shared_ptr<Watcher>& watcher, std::optional<JobId> job) {
  MutexLock lock(mutex_);
  (job ? watchers_[*job] : watchers_of_all_).push_back(watcher);
}

void JobFeed::Sweep(std::optional<JobId> job) {
  const auto gone = [](const std::weak_ptr<Watcher>& weak) { return weak.expired(); };
  MutexLock lock(mutex_);
  if (!job) {
    std::erase_if(watchers_of_all_, gone);
  } else if (const auto found = watchers_.find(*job); found != watchers_.end()) {
    std::erase_if(found->second, gone);
    if (found->second.empty()) watchers_.erase(found);
  }
}

size_t JobFeed::watched_jobs() const {
  MutexLock lock(mutex_);
  return watchers_.size();
}

Result<std::shared_ptr<void>> JobFeed::Enter() {
  if (ended()) return Unavailable("the manager is stopping (ask again)");
  if (readers_->fetch_add(1) >= kMaxReaders) {
    readers_->fetch_sub(1);
    return ResourceExhausted("too many clients wait for changes (ask again later)");
  }
  return std::shared_ptr<void>(nullptr, [count = readers_](void*) { count->fetch_sub(1); });
}

void JobFeed::End() {
  ended_ = true;
  std::vector<std::shared_ptr<Watcher>> told;
  {
    MutexLock lock(mutex_);
    for (const auto& weak : watchers_of_all_) told.push_back(weak.lock());
    for (const auto& [job, watchers] : watchers_) {
      for (const auto& weak : watchers) told.push_back(weak.lock());
    }
  }
  for (const auto& watcher : told) {
    if (watcher != nullptr) watcher->Changed();
  }
}

}  // namespace hearth::manager
