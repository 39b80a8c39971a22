// ManagerParts: all of a manager but its servers.
//
// The members are in order of dependency; whoever uses them is destroyed before.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/status.h"
#include "base/thread.h"
#include "cmd/live_manager_config.h"
#include "kv/kv.h"
#include "manager/api.h"
#include "manager/audit.h"
#include "manager/cluster_ca.h"
#include "manager/clusters.h"
#include "manager/enroll_service.h"
#include "manager/fleet.h"
#include "manager/job_api.h"
#include "manager/job_store.h"
#include "manager/order_hub.h"
#include "manager/order_service.h"
#include "manager/pull_job_api.h"
#include "manager/pull_jobs.h"
#include "manager/router.h"
#include "manager/sealer.h"
#include "manager/secret_store.h"
#include "manager/throttle.h"
#include "manager/tokens.h"
#include "manager/tracker_hub.h"
#include "manager/tracker_service.h"
#include "manager/watch_api.h"

namespace hearth::cmd {

struct ManagerParts {
  // Opens the store, and makes CA, key and first token where there are none. `live` outlives it.
  static Result<std::unique_ptr<ManagerParts>> Open(const LiveManagerConfig& live);
  ManagerParts(const ManagerParts&) = delete;
  ManagerParts& operator=(const ManagerParts&) = delete;

  // In `root`/backups, in place of the one before. kAborted: another one is being written.
  Result<manager::BackupFile> Backup();
  // What is to be done now and then; at least once a second.
  void Tick();

  std::atomic<bool> serving = false;
  std::unique_ptr<kv::Kv> kv;
  std::unique_ptr<manager::ClusterCa> ca;
  std::unique_ptr<manager::Tokens> tokens;
  std::unique_ptr<manager::Audit> audit;
  std::unique_ptr<manager::Fleet> fleet;
  std::unique_ptr<manager::Clusters> clusters;
  std::unique_ptr<manager::Sealer> sealer;
  std::optional<manager::SecretStore> secrets;
  std::optional<manager::JobStore> jobs;
  std::unique_ptr<manager::OrderHub> orders;
  std::optional<manager::PullJobs> pull_jobs;
  std::optional<manager::TrackerHub> tracker;
  manager::Throttle throttle;
  std::optional<manager::Enrolment> enrolment;
  ThreadPool enrolling;
  std::shared_ptr<grpc::Service> enroll_service;
  std::shared_ptr<grpc::Service> tracker_service;
  std::shared_ptr<grpc::Service> order_service;
  std::optional<manager::Api> api;
  std::optional<manager::JobApi> job_api;
  std::optional<manager::PullJobApi> pull_job_api;
  std::optional<manager::WatchApi> watch_api;
  std::optional<manager::Router> router;

 private:
  explicit ManagerParts(std::filesystem::path root);
  Status OpenStore(const config::ManagerConfig& config);
  Status OpenHubs(const LiveManagerConfig& live);
  void OpenApi(const LiveManagerConfig& live);

  const std::filesystem::path root_;
  std::atomic<bool> backing_up_ = false;
};

}  // namespace hearth::cmd
