// JobApi: the routes of /oapi/v1: preheat jobs and clusters, as Dragonfly's clients know them.
// docs/api.md and openapi.yaml describe them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "manager/clusters.h"
#include "manager/fleet.h"
#include "manager/order_hub.h"
#include "manager/router.h"

namespace hearth::manager {

// That a route's path names. kNotFound: it is no number.
Result<JobId> JobIdOf(const ApiCall& call);

class JobApi {
 public:
  struct Options {
    OrderHub& orders;
    Clusters& clusters;
    Fleet& fleet;
    // Host patterns that preheats may name ([preheat] allow).
    std::function<std::vector<std::string>()> allowed_hosts;
  };
  explicit JobApi(Options options) : options_(std::move(options)) {}

  // Adds every route. `this` must outlive the router's use.
  void AddTo(Router& router);

 private:
  void AddChanges(Router& router);
  void AddClusters(Router& router);
  Result<ApiAnswer> Create(const ApiCall& call);
  Result<ApiAnswer> List(const ApiCall& call);
  Result<ApiAnswer> Show(JobId id) const;
  Result<ApiAnswer> ShowNodes(const ApiCall& call);
  Result<ApiAnswer> Change(const ApiCall& call);
  // kFailedPrecondition: it has nodes.
  Status RemoveCluster(uint64_t id);
  // Clusters that have nodes get their numbers.
  Result<std::vector<ClusterInfo>> KnownClusters() const;

  const Options options_;
};

}  // namespace hearth::manager
