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
};
int RunPreheat(const Common& common, const PreheatArgs& args);

struct ExplainArgs {
  std::string reference;
  std::string platform;  // "" = the node's
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
int RunStoreRemove(const Common& common, const std::vector<std::string>& digests);

struct TaskIdArgs {
  std::vector<std::string> urls;
  std::string scheme;  // "" = all of them
  std::string digest;
  std::string tag;
  std::string application;
  std::string revision;
  std::string range;
  std::optional<uint64_t> piece_length;
  std::optional<std::string> filter;  // "a&b"; absent = the default list
};
int RunTaskId(const Common& common, const TaskIdArgs& args);

struct InstallArgs {
  bool dry_run = false;
  bool keep_overlayfs = false;
  bool force = false;  // uninstall though containers use it, or that cannot be seen
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

struct DoctorArgs {
  std::string root_prefix;  // "" = "/"
};
int RunDoctor(const Common& common, const DoctorArgs& args);

}  // namespace hearth::cmd
