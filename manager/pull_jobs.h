// PullJobs: ImagePrePullJobs as jobs of the manager: nodes chosen, credentials found, handed to
// OrderHub, which carries them out. Any thread; no call waits for the network.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "manager/fleet.h"
#include "manager/kube_documents.h"
#include "manager/order_hub.h"
#include "manager/secret_store.h"

namespace hearth::manager {

class PullJobs {
 public:
  struct Options {
    OrderHub& orders;
    SecretStore& secrets;
    Fleet& fleet;
    // Host patterns that jobs may name ([preheat] allow).
    std::function<std::vector<std::string>()> allowed_hosts;
    const Clock& clock = RealClock();
  };
  explicit PullJobs(Options options) : options_(std::move(options)) {}

  // Every job of the documents, or none: what is wrong with one refuses all. The documents' secrets
  // are for these jobs only, and go before the store's of the same name. `dry_run`: all checks, and
  // the jobs as they would begin, but nothing is kept.
  //
  // kAlreadyExists: a job of that name; kInvalidArgument: a secret that nobody has, or that cannot
  // be used; kPermissionDenied: a host that may not be named; kFailedPrecondition: no node is left;
  // kResourceExhausted.
  Result<std::vector<Job>> Create(const KubeDocuments& documents, bool dry_run);

  // kNotFound. `read` must not call back.
  Status Read(const std::string& name, const std::function<void(const Job&)>& read) const;
  Result<OrderHub::NamedPage> List(size_t page, size_t per_page) const;
  // kNotFound; kFailedPrecondition: it has ended.
  Status Cancel(const std::string& name);
  // Cancels it where it is under way. kNotFound.
  Status Remove(const std::string& name);

 private:
  Result<NewJob> Plan(const PullJob& job, const KubeDocuments& documents) const;
  Result<PullSecret> FindSecret(const std::string& name, const KubeDocuments& documents) const;
  Result<std::vector<ItemLogin>> FindLogins(const PullJob& job,
                                            const KubeDocuments& documents) const;

  const Options options_;
};

}  // namespace hearth::manager
