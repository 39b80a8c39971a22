// ContainerdWatch: which containerd we serve, known by the UUID of its root.
//
// Asks containerd's introspection service from a thread of its own and when a connection arrives,
// never from inside a call. A new UUID means a new root: the old one's claims are dropped and its
// snapshots renamed before the new one's first call, so that its key numbers cannot collide.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "base/status.h"
#include "base/thread.h"
#include "plugin/containerd_client.h"
#include "store/store.h"

namespace hearth::plugin {

class ContainerdWatch {
 public:
  struct Options {
    ContainerdClient& containerd;
    store::Store& store;
    std::chrono::seconds interval{5};
    // Called from the watching thread each time that containerd answered.
    std::function<void()> on_answer = {};
  };
  explicit ContainerdWatch(Options options);
  ~ContainerdWatch();

  struct State {
    bool connected = false;
    std::string uuid;
    std::string version;
    std::string error;  // why not connected
  };
  State state() const;

  // Asked with the process behind a new connection to our socket. kPermissionDenied: another
  // containerd than the one that answers at the configured address. Where none answers: OK.
  Status Admit(pid_t pid);

 private:
  void Run();
  // Asks containerd and adopts its UUID. Its answer, or why there is none.
  Result<ContainerdServer> Ask();

  const Options options_;
  Mutex ask_mutex_;  // one question at a time
  mutable Mutex mutex_;
  CondVar wake_;
  State state_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool ask_now_ GUARDED_BY(mutex_) = false;  // somebody connected
  std::thread thread_;
};

}  // namespace hearth::plugin
