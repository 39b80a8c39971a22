// PullJobApi: the routes of /api/v1/pull-jobs and /api/v1/secrets. docs/api.md describes them.
#pragma once

#include "manager/pull_jobs.h"
#include "manager/router.h"
#include "manager/secret_store.h"

namespace hearth::manager {

class PullJobApi {
 public:
  PullJobApi(PullJobs& jobs, SecretStore& secrets) : jobs_(jobs), secrets_(secrets) {}

  // Adds every route. `this` must outlive the router's use.
  void AddTo(Router& router);

 private:
  void AddJobs(Router& router);
  void AddSecrets(Router& router);
  Result<ApiAnswer> Create(const ApiCall& call);
  Result<ApiAnswer> List(const ApiCall& call) const;
  Result<ApiAnswer> Show(const std::string& name) const;
  Result<ApiAnswer> PutSecret(const ApiCall& call);

  PullJobs& jobs_;
  SecretStore& secrets_;
};

}  // namespace hearth::manager
