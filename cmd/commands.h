// The subcommands: what each takes, and the exit codes that scripts rely on.
//
// hearth.cc reads the command line into these; each Run… is in the file of its name, is called once
// from the main thread, and returns an ExitCode. Results go to stdout, errors and progress to
// stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "config/node_config.h"
#include "plugin/install_level.h"

namespace hearth::cmd {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kWrongUse = 2,      // or bad config
  kNotThere = 3,      // not in the store, or not warm
  kPartlyDone = 4,    // some references of several
  kInterrupted = 130  // Ctrl-C
};

// What every subcommand takes.
struct Common {
  std::string config_file;        // --config; "" = /etc/hearth/node.toml where it exists
  std::vector<std::string> sets;  // --set KEY=VALUE
  bool json = false;              // --output json
  bool quiet = false;             // --quiet
};

// Prints "hearth: what: why" on stderr; kWrongUse for a bad config or argument, kNotThere for what
// is not there, else kFailed.
int Fail(const std::string& what, const Status& status);
// The node's config as `common` names it.
Result<config::NodeConfig> LoadConfig(const Common& common);

int RunNode(const Common& common);

struct PreheatArgs {
  std::vector<std::string> references;
  std::string depth;  // "" = the node's default
  std::vector<std::string> platforms;
  std::chrono::seconds pin{0};
  bool dry_run = false;  // of a manager's nodes
};
int RunPreheat(const Common& common, const PreheatArgs& args);

struct ExplainArgs {
  std::string reference;
  std::string platform;  // "" = the node's
  // Of a manager:
  std::string node;
  std::string cluster;
};
int RunExplain(const Common& common, const ExplainArgs& args);

struct GetArgs {
  std::string url;
  std::string output_file;  // "" = the URL's last part; "-" = stdout
  std::string digest;       // "" = not known beforehand
  std::vector<std::string> headers;
};
int RunGet(const Common& common, const GetArgs& args);

int RunStoreList(const Common& common);
int RunStoreVerify(const Common& common, bool repair);
int RunStoreCollect(const Common& common, bool dry_run);
// Digests and chain IDs, or images whose preheat is taken back.
int RunStoreRemove(const Common& common, const std::vector<std::string>& names);

struct TaskIdArgs {
  std::vector<std::string> urls;
  std::string scheme;  // "" = all of them
  std::string digest;
  std::string tag;
  std::string application;
  std::string revision;
  std::string range;
  std::string region;    // of scheme persistent
  std::string endpoint;  // likewise
  std::optional<uint64_t> piece_length;
  std::optional<std::string> filter;  // "a&b"; absent = the default list
};
int RunTaskId(const Common& common, const TaskIdArgs& args);

struct SimArgs {
  uint32_t nodes = 100;
  uint64_t size_bytes = 256 << 20;
  uint64_t seed = 1;
  // Mbit/s
  double uplink = 1000;
  double downlink = 1000;
  double origin = 1000;
  double rack_link = 0;  // 0 = no limit
  double zone_link = 0;
  double max_round_trip_ms = 80;
  uint32_t racks = 1;
  uint32_t zones = 1;
  uint32_t blobs = 1;
  bool no_digest = false;
  uint32_t away_ms = 5000;
  // Fractions from 0 to 1.
  double loss = 0;
  double lying = 0;
  double slow = 0;
  double churn = 0;
  double lying_bitmaps = 0;
  double attesting = 0;
  double full = 0;
  double refused = 0;
  bool no_ranges = false;
  // "FROM..UNTIL" in seconds; "" = never
  std::string tracker_away;
  std::string origin_away;
  std::string partition;
  std::optional<double> origin_gone_at;  // fraction of the pieces that have left it
};
int RunSim(const Common& common, const SimArgs& args);

struct InstallArgs {
  bool dry_run = false;
  bool keep_overlayfs = false;
  bool force = false;      // uninstall though containers use it, or that cannot be seen
  bool no_unpack = false;  // uninstall leaves it to containerd's first use of an image
  std::string restart;     // uninstall: how to restart containerd; "" = left to the user
  std::optional<plugin::InstallLevel> level;  // nullopt = content, or what is installed
  std::string root_prefix;                    // "" = "/"
};
int RunInstall(const Common& common, const InstallArgs& args);
int RunUninstall(const Common& common, const InstallArgs& args);

struct AdoptArgs {
  bool dry_run = false;
  std::string restart = "systemctl restart containerd";
};
int RunAdopt(const Common& common, const AdoptArgs& args);

struct RepairArgs {
  bool dry_run = false;
  bool verify = false;  // rehash all blobs first
};
int RunRepair(const Common& common, const RepairArgs& args);

struct DoctorArgs {
  std::string root_prefix;  // "" = "/"
  std::string registry;     // to compare clocks with, HOST[:PORT]; "" = none
};
int RunDoctor(const Common& common, const DoctorArgs& args);

}  // namespace hearth::cmd
