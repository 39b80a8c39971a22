// The subcommands of the manager and of its clients, beside those in commands.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cmd/commands.h"

namespace hearth::cmd {

struct JoinArgs {
  std::vector<std::string> managers;  // "HOST:7781"; empty = the config's
  std::string token_file;             // "-" = stdin; "" = the config's
  std::string cluster;                // "" = the config's
};
int RunNodeJoin(const Common& common, const JoinArgs& args);

int RunManager(const Common& common);

// What every client of the manager's API takes.
struct ManagerArgs {
  std::string manager;  // "" = HEARTH_MANAGER
};

// Of the manager that runs on this machine.
int RunManagerBackup(const Common& common, const ManagerArgs& manager, const std::string& file);
// Where no manager has run yet.
int RunManagerRestore(const Common& common, const std::string& file);

int RunNodesList(const Common& common, const ManagerArgs& manager, const std::string& cluster);
int RunNodesShow(const Common& common, const ManagerArgs& manager, const std::string& name);
int RunNodesForget(const Common& common, const ManagerArgs& manager, const std::string& name);

struct CordonArgs {
  std::string verb;  // "cordon", "uncordon", "drain"
  std::string name;
  std::string reason;  // "" = by hand
};
int RunNodesCordon(const Common& common, const ManagerArgs& manager, const CordonArgs& args);

// What nodes lack of images, without fetching anything.
struct FleetLook {
  std::string what;  // for messages
  std::vector<std::string> references;
  std::string depth;
  std::vector<std::string> platforms;
  std::string node = {};     // this one only
  std::string cluster = {};  // of this cluster only
  std::string timeout = "60s";
  bool needs_warm = false;  // kNotThere where a node is not
};
// kPartlyDone or kFailed where nodes cannot say.
int RunFleetLook(const Common& common, const ManagerArgs& manager, const FleetLook& look);

int RunJobsList(const Common& common, const ManagerArgs& manager, const std::string& state);
int RunJobsShow(const Common& common, const ManagerArgs& manager, const std::string& id);
// Until it has ended: kDone, kPartlyDone where some nodes failed, kFailed.
int RunJobsWatch(const Common& common, const ManagerArgs& manager, const std::string& id);
// `verb` is "cancel" or "retry".
int RunJobsChange(const Common& common, const ManagerArgs& manager, const std::string& verb,
                  const std::string& id);
// On the manager's nodes; watches the job.
int RunClusterPreheat(const Common& common, const ManagerArgs& manager, const PreheatArgs& args);

struct TokenArgs {
  bool join = false;
  std::string name;
  std::vector<std::string> scopes;
  std::string expires_in;  // "30d"; "" = never, of a join token 24h
  std::string cluster;     // of a join token
  uint64_t uses = 1;       // of a join token
};
int RunTokensCreate(const Common& common, const ManagerArgs& manager, const TokenArgs& args);
int RunTokensList(const Common& common, const ManagerArgs& manager, bool join);
int RunTokensRevoke(const Common& common, const ManagerArgs& manager, bool join,
                    const std::string& id);

struct PrepullArgs {
  std::vector<std::string> files;    // "-" = stdin
  std::vector<std::string> secrets;  // "NAMESPACE/NAME=FILE", each file a docker config
  bool wait = false;
  bool dry_run = false;
};
int RunPrepull(const Common& common, const ManagerArgs& manager, const PrepullArgs& args);

}  // namespace hearth::cmd
