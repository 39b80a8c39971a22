#include "plugin/containerd_watch.h"

#include <sys/stat.h>

#include <utility>

#include "base/log.h"

namespace hearth::plugin {

namespace {

constexpr char kUuidKey[] = "containerd_uuid";

// 0 where it cannot be told.
uint64_t OwnPidNamespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

}  // namespace

ContainerdWatch::ContainerdWatch(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

ContainerdWatch::~ContainerdWatch() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

ContainerdWatch::State ContainerdWatch::state() const {
  MutexLock lock(mutex_);
  return state_;
}

Result<ContainerdServer> ContainerdWatch::Ask() {
  MutexLock one_at_a_time(ask_mutex_);
  const auto server = options_.containerd.Server();
  State next;
  if (server.ok()) {
    auto& kv = options_.store.kv();
    const auto known = kv.Get(kv::Family::kMeta, kUuidKey);
    if (!known.ok() || *known != server->uuid) {
      if (known.ok()) {
        LOG_INFO("containerd has a new root", {{"old_uuid", *known}, {"uuid", server->uuid}});
        TRY_STATUS(options_.store.snapshots().ForgetContainerd());
        TRY_STATUS(options_.store.blobs().DropAllClaims());
      }
      TRY_STATUS(kv.Put(kv::Family::kMeta, kUuidKey, server->uuid, kv::Sync::kYes));
    }
    next.connected = true;
    next.uuid = server->uuid;
    const auto version = options_.containerd.Version();
    if (version.ok()) next.version = version->version;
  } else {
    next.error = server.status().ToString();
  }
  MutexLock lock(mutex_);
  if (next.connected != state_.connected) {
    LOG_INFO(next.connected ? "containerd answers" : "containerd does not answer",
             {{"version", next.version}, {"error", next.error}});
  }
  state_ = std::move(next);
  return server;
}

Status ContainerdWatch::Admit(pid_t pid) {
  const auto server = Ask();
  {
    MutexLock lock(mutex_);
    ask_now_ = true;
  }
  wake_.NotifyAll();
  // It may be starting: its API answers a little after its first call to us.
  if (!server.ok()) return OkStatus();
  const bool comparable = server->pid != 0 && pid != 0 && server->pidns == OwnPidNamespace();
  if (comparable && server->pid != static_cast<uint64_t>(pid)) {
    return PermissionDenied(
        "process " + std::to_string(pid) + ": one node serves one containerd, which is process " +
        std::to_string(server->pid) + " (set containerd.address, or start a second node)");
  }
  return OkStatus();
}

void ContainerdWatch::Run() {
  NameThread("containerd");
  while (true) {
    const auto next = std::chrono::steady_clock::now() + options_.interval;
    if (Ask().ok() && options_.on_answer) options_.on_answer();
    MutexLock lock(mutex_);
    while (!stopping_ && !ask_now_ && wake_.WaitUntil(mutex_, next)) {
    }
    ask_now_ = false;
    if (stopping_) return;
  }
}

}  // namespace hearth::plugin
