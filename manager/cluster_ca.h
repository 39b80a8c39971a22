// ClusterCa: the authority of the manager's clusters, made at the first start, and the manager's
// own certificate.
//
// Under `root`/ca: ca.key (0600) and ca.pem for ten years; manager.key (0600) and manager.pem,
// which is issued anew before half of its day is over. Any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/certificate.h"
#include "net/grpc_tls.h"
#include "net/tls.h"

namespace hearth::manager {

class ClusterCa {
 public:
  struct Options {
    std::filesystem::path root;
    const Clock& clock = RealClock();
    // Names and addresses by which people reach the API, beside localhost and the machine's name.
    std::vector<std::string> hosts;
  };
  // kFailedPrecondition: what lies there is no authority of ours (its file is named).
  static Result<std::unique_ptr<ClusterCa>> Open(Options options);

  const net::Certificate& authority() const { return authority_; }
  Result<net::Certificate> IssueNode(const net::SigningRequest& request, const std::string& cluster,
                                     const std::string& id, const std::string& name) const;

  // Issues the manager's own certificate where that is due. To be called each few minutes.
  Status RenewOwn() EXCLUDES(mutex_);
  net::TlsFiles files() const;
  // The same for the HTTP server. Never null.
  std::shared_ptr<const net::TlsIdentity> identity() const EXCLUDES(mutex_);

 private:
  ClusterCa(Options options, net::PrivateKey key, net::Certificate authority)
      : options_(std::move(options)), key_(std::move(key)), authority_(std::move(authority)) {}

  const Options options_;
  const net::PrivateKey key_;
  const net::Certificate authority_;
  mutable Mutex mutex_;
  WallTime own_issued_ GUARDED_BY(mutex_){};
  std::shared_ptr<const net::TlsIdentity> identity_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
