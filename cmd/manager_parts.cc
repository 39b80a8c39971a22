#include "cmd/manager_parts.h"

#include <openssl/rand.h>

#include <string>
#include <utility>

#include "base/ascii.h"
#include "base/file.h"
#include "base/log.h"

namespace hearth::cmd {

namespace {

constexpr uint64_t kStoreMemoryBytes = 16ull << 20;
constexpr size_t kEnrolThreads = 2;
constexpr size_t kEnrolQueue = 256;
constexpr uint64_t kMaxTokenFileBytes = 4096;
constexpr const char* kFileTokenName = "admin-token-file";
constexpr const char* kFirstTokenName = "first admin";

// The operator's own token, or one made now where there is none at all. Its text goes to a file
// that only root reads; the log has the file's name.
Status ProvideAdminToken(const config::ManagerConfig& config, manager::Tokens& tokens) {
  if (!config.admin_token_file.empty()) {
    std::string text = TRY(
        ReadFile(config.admin_token_file, kMaxTokenFileBytes).Annotate("tokens.admin_token_file"));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return tokens.SetAdmin(kFileTokenName, Secret(std::string(TrimBlanks(text))))
        .Annotate("tokens.admin_token_file " + config.admin_token_file);
  }
  if (!tokens.List().empty()) return OkStatus();
  const auto made = TRY(tokens.Create({kFirstTokenName, {manager::Scope::kAdmin}, std::nullopt}));
  const auto file = config.root / "admin-token";
  const Status written = WriteFileAtomically(file, made.text.Reveal() + "\n", 0600);
  if (!written.ok()) {
    // Nobody knows it: the next start makes another.
    (void)tokens.Revoke(made.token.id);
    return written;
  }
  LOG_INFO("made an admin token", {{"file", file.native()}});
  return OkStatus();
}

}  // namespace

ManagerParts::ManagerParts(std::filesystem::path root)
    : throttle(RealClock()),
      enrolling({.name = "enrol", .threads = kEnrolThreads, .queue_limit = kEnrolQueue}),
      root_(std::move(root)) {}

Result<std::unique_ptr<ManagerParts>> ManagerParts::Open(const LiveManagerConfig& live) {
  auto parts = std::unique_ptr<ManagerParts>(new ManagerParts(live.Get()->root));
  TRY_STATUS(parts->OpenStore(*live.Get()));
  TRY_STATUS(parts->OpenHubs(live));
  parts->OpenApi(live);
  return parts;
}

Status ManagerParts::OpenStore(const config::ManagerConfig& config) {
  TRY_STATUS(MakeDirectories(config.root, 0700));
  kv =
      TRY(kv::OpenRocksKv({.directory = config.root / "store", .memory_bytes = kStoreMemoryBytes}));
  ca = TRY(manager::ClusterCa::Open({.root = config.root, .hosts = config.api.names}));
  tokens = TRY(manager::Tokens::Open(*kv, RealClock()));
  audit = TRY(manager::Audit::Open(*kv, RealClock()));
  fleet = TRY(manager::Fleet::Open(*kv, RealClock()));
  clusters = TRY(manager::Clusters::Open(*kv, RealClock()));
  const bool own_key = config.key_file.empty();
  sealer = TRY(
      manager::Sealer::Open(
          own_key ? config.root / "secrets.key" : std::filesystem::path(config.key_file), own_key)
          .Annotate("secrets.key_file"));
  return ProvideAdminToken(config, *tokens);
}

Status ManagerParts::OpenHubs(const LiveManagerConfig& live) {
  secrets.emplace(*kv, *sealer);
  // At each start, so that a key that is not the first one is needed no more once it has succeeded.
  const auto renewed = secrets->Renew();
  if (!renewed.ok()) {
    LOG_WARNING("kept secrets are not sealed with the first key", {{"error", renewed.status()}});
  } else if (*renewed > 0) {
    LOG_INFO("sealed kept secrets with the first key", {{"secrets", *renewed}});
  }
  jobs.emplace(*kv);
  orders = TRY(manager::OrderHub::Open({.fleet = *fleet, .store = *jobs, .sealer = *sealer}));
  uint64_t seed = 0;
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&seed), sizeof(seed)) == 1);
  tracker.emplace(manager::TrackerHub::Options{
      .fleet = *fleet,
      .authority = ca->authority(),
      .seed = seed,
      .program_version = HEARTH_VERSION,
      .origin_rate = [&live](const std::string& cluster) { return live.OriginRate(cluster); },
      .dropped = [this](const std::string& node_id,
                        std::span<const Digest> blobs) { orders->Dropped(node_id, blobs); }});
  enrolment.emplace(manager::Enrolment::Options{
      .ca = *ca, .tokens = *tokens, .fleet = *fleet, .throttle = throttle});
  enroll_service = manager::MakeEnrollService(*enrolment, enrolling);
  tracker_service = manager::MakeTrackerService(*tracker);
  order_service = manager::MakeOrderService(*orders);
  return OkStatus();
}

void ManagerParts::OpenApi(const LiveManagerConfig& live) {
  api.emplace(manager::Api::Options{
      .tokens = *tokens,
      .audit = *audit,
      .fleet = *fleet,
      .hub = *tracker,
      .orders = *orders,
      .ca = *ca,
      .program_version = HEARTH_VERSION,
      .backup = [this] { return Backup(); },
      .ready = [this] { return serving ? OkStatus() : Unavailable("starting or stopping"); }});
  job_api.emplace(manager::JobApi::Options{
      .orders = *orders, .clusters = *clusters, .fleet = *fleet, .allowed_hosts = [&live] {
        return live.Get()->preheat_allow;
      }});
  pull_jobs.emplace(manager::PullJobs::Options{
      .orders = *orders, .secrets = *secrets, .fleet = *fleet, .allowed_hosts = [&live] {
        return live.Get()->preheat_allow;
      }});
  pull_job_api.emplace(*pull_jobs, *secrets);
  watch_api.emplace(*orders, *clusters, *tokens);
  router.emplace(*tokens, *audit, RealClock());
  api->AddTo(*router);
  job_api->AddTo(*router);
  pull_job_api->AddTo(*router);
  watch_api->AddTo(*router);
}

Result<manager::BackupFile> ManagerParts::Backup() {
  if (backing_up_.exchange(true)) return Aborted("another backup is being written");
  const auto write = [this]() -> Result<manager::BackupFile> {
    const auto folder = root_ / "backups";
    TRY_STATUS(RemoveTree(folder));
    TRY_STATUS(MakeDirectories(folder, 0700));
    const auto file = folder / "hearth-manager.backup";
    return manager::BackupFile{file, TRY(manager::WriteBackup(*kv, root_, file))};
  };
  auto made = write();
  backing_up_ = false;
  return made;
}

void ManagerParts::Tick() {
  tracker->Tick();
  tracker->SettingsChanged();
  orders->Tick();
}

}  // namespace hearth::cmd
