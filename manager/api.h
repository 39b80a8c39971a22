// Api: what the manager's REST API answers, by route. docs/api.md describes it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"
#include "manager/audit.h"
#include "manager/backup.h"
#include "manager/cluster_ca.h"
#include "manager/fleet.h"
#include "manager/order_hub.h"
#include "manager/router.h"
#include "manager/tokens.h"
#include "manager/tracker_hub.h"

namespace hearth::manager {

struct BackupFile {
  std::filesystem::path file;
  BackupSummary summary;
};

class Api {
 public:
  struct Options {
    Tokens& tokens;
    const Audit& audit;
    Fleet& fleet;
    TrackerHub& hub;
    OrderHub& orders;
    const ClusterCa& ca;
    const Clock& clock = RealClock();
    std::string program_version;
    // Writes one on the manager's machine.
    std::function<Result<BackupFile>()> backup;
    // OK when every part of the manager answers.
    std::function<Status()> ready;
  };
  explicit Api(Options options) : options_(std::move(options)) {}

  // Adds every route. What `this` holds must outlive the router's use.
  void AddTo(Router& router);

 private:
  void AddHealth(Router& router);
  void AddNodes(Router& router);
  void AddCordon(Router& router);
  void AddTokens(Router& router);
  void AddJoinTokens(Router& router);
  Result<ApiAnswer> ListAudit(const ApiCall& call);
  Result<ApiAnswer> CreateToken(const ApiCall& call);
  Result<ApiAnswer> CreateJoinToken(const ApiCall& call);
  Result<ApiAnswer> ListNodes(const ApiCall& call);
  Result<ApiAnswer> Metrics();

  const Options options_;
};

}  // namespace hearth::manager
