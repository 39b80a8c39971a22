// Membership: keeps this node in its cluster: joins when it has no certificate, renews the one that
// it has before it ends.
//
// A thread of its own does that, again and again while no manager answers; the node works
// meanwhile. Any thread may call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/tls.h"
#include "p2p/enroll_client.h"

namespace hearth::p2p {

class Membership {
 public:
  static constexpr std::chrono::seconds kRetry{60};
  static constexpr std::chrono::seconds kFirstRetry{1};  // doubles up to kRetry

  struct Options {
    std::filesystem::path folder;
    std::vector<std::string> managers;  // "HOST:7781"
    std::string cluster;
    std::filesystem::path join_token_file;  // "" = joined already, or by `hearth node join`
    NodeDescription node;
    // Once, on the thread, as soon as there is a certificate that is valid.
    std::function<void()> joined;
  };
  // Makes the key where there is none. Errors are those of the folder.
  static Result<std::unique_ptr<Membership>> Open(Options options);
  ~Membership();

  // Begins to join and renew.
  void Start();
  void Stop();

  const std::string& node_id() const { return node_id_; }
  net::TlsFiles files() const { return client_.files(); }
  // Null until the node has joined; a new one after each renewal.
  std::shared_ptr<const net::TlsIdentity> identity() const;
  // OK while the certificate is valid; else why the node is not in the cluster.
  Status state() const;

 private:
  Membership(Options options, std::string node_id);
  void Run();
  // Until when the identity of now is good; an error: there is none.
  Result<WallTime> Load();
  Status Join();
  Status Renew();
  // False: stopping.
  bool Sleep(std::chrono::seconds time);

  const Options options_;
  const std::string node_id_;
  const EnrollClient client_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<const net::TlsIdentity> identity_ GUARDED_BY(mutex_);
  Status state_ GUARDED_BY(mutex_) = Unavailable("not joined yet");
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace hearth::p2p
