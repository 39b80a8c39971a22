#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/install_files.h"
#include "cmd/installation.h"
#include "cmd/subprocess.h"
#include "cmd/unified_diff.h"
#include "plugin/containerd_client.h"
#include "plugin/default_snapshotter.h"
#include "plugin/install_record.h"
#include "plugin/installer.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using plugin::FileEdit;
using plugin::InstallLevel;
using plugin::InstallOptions;
using plugin::InstallRecord;

constexpr std::chrono::seconds kProgramLimit{30};
constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr const char* kUnitBinary = "/usr/bin/hearth";
constexpr const char* kPackagedUnit = "/usr/lib/systemd/system/hearth.service";

// What install is about to do, or did.
struct Work {
  std::vector<FileEdit> edits;      // those that change something
  std::vector<std::string> wanted;  // namespaces to be labelled
  InstallLevel level = InstallLevel::kContent;
  bool loaded = false;            // containerd runs with our snapshotter
  std::vector<std::string> next;  // what is left to the user
};

Result<std::optional<std::string>> ReadBelow(const std::string& prefix, const std::string& path) {
  auto text = ReadFile(prefix + path, kMaxFileBytes);
  if (text.ok()) return std::optional<std::string>(std::move(text).value());
  if (text.status().code() == StatusCode::kNotFound) return std::optional<std::string>();
  return text.status();
}

Result<std::string> ContainerdVersionHere() {
  const auto result = RunProgram({"containerd", "--version"}, kProgramLimit);
  if (!result.ok()) {
    return result.status().Annotate("find containerd (install it first, or put it on PATH)");
  }
  return plugin::ParseContainerdVersion(result->out);
}

// containerd's own view of its files, imports included.
Result<std::string> DumpConfig() {
  const auto result = TRY(RunProgram(
      {"containerd", "--config", plugin::kContainerdConfigFile, "config", "dump"}, kProgramLimit));
  if (result.exit_code == 0) return result.out;
  return FailedPrecondition("containerd cannot read its configuration: " + result.err);
}

// Whether containerd takes its settings as the plan means them.
Status CheckSettled(const Work& work) {
  const std::string dump = TRY(DumpConfig());
  for (const FileEdit& edit : work.edits) {
    if (edit.path == plugin::kNerdctlFile) continue;
    for (const plugin::TomlChange& change : edit.changes) {
      // Compared as values: the dump writes them in a form of its own.
      const auto now = TRY(plugin::TomlValueText(dump, change.path));
      if (now && plugin::SameTomlValue(*now, change.value)) continue;
      return FailedPrecondition("containerd takes " + plugin::TomlPathText(change.path) + " = " +
                                now.value_or("nothing") + " in spite of " + edit.path +
                                " (another file that it imports says so)");
    }
  }
  return OkStatus();
}

// A lower level than what is installed would leave half of it behind.
Result<InstallLevel> ChosenLevel(const InstallArgs& args) {
  const InstallRecord record = TRY(InstallRecord::Load(args.root_prefix));
  const InstallLevel chosen = args.level.value_or(record.level().value_or(InstallLevel::kContent));
  if (record.level() && chosen < *record.level()) {
    return FailedPrecondition("level " + plugin::InstallLevelName(*record.level()) +
                              " is installed, which is more than " +
                              plugin::InstallLevelName(chosen) +
                              " (run: hearth uninstall, then: hearth install --level " +
                              plugin::InstallLevelName(chosen) + ")");
  }
  return chosen;
}

bool HasSystemd(const InstallArgs& args) {
  return std::filesystem::exists(args.root_prefix + "/run/systemd/system");
}

// The unit with the path of this binary in it; "" where a package brought binary and unit: one in
// /etc would hide the package's from then on, also after an upgrade.
std::string UnitText(const InstallArgs& args) {
  std::string text = kHearthServiceText;
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (self == kUnitBinary && std::filesystem::exists(args.root_prefix + kPackagedUnit)) return "";
  const size_t at = text.find(kUnitBinary);
  if (!error && at != std::string::npos) text.replace(at, std::string(kUnitBinary).size(), self);
  return text;
}

Result<InstallOptions> MakeOptions(const config::NodeConfig& config, const Common& common,
                                   const InstallArgs& args) {
  InstallOptions options;
  options.containerd_version = TRY(ContainerdVersionHere());
  options.socket = config.Socket().string();
  options.snapshots_root = (config.root / "snapshots").string();
  options.mirror = config.mirror.listen;
  options.keep_overlayfs = args.keep_overlayfs;
  options.has_nerdctl = RunProgram({"nerdctl", "--version"}, kProgramLimit).ok();
  if (common.config_file.empty()) options.node_config = kNodeTomlText;
  if (HasSystemd(args)) options.unit = UnitText(args);
  const bool configured = std::filesystem::exists(plugin::kContainerdConfigFile);
  if (args.root_prefix.empty() && configured) options.effective_config = TRY(DumpConfig());
  return options;
}

// The namespaces that are to have our snapshotter; the node sees to those of a containerd that is
// down, or has it not loaded yet: before that, the label would break every pull.
void PlanLabels(const config::NodeConfig& config, Work& work) {
  if (config.containerd.address.empty()) return;
  const std::string& own = config.containerd.containerd_namespace;
  work.wanted = {"k8s.io", "default"};
  if (own != "k8s.io" && own != "default") work.wanted.push_back(own);
  const Ctr ctr(config.containerd.address);
  const auto plugins = ctr.Plugins();
  if (!plugins.ok()) return;
  for (const ContainerdPlugin& plugin : *plugins) {
    work.loaded = work.loaded || (plugin.type == "io.containerd.snapshotter.v1" &&
                                  plugin.id == "hearth" && plugin.status == "ok");
  }
  const auto labels = ctr.NamespaceLabels(kDefaultSnapshotterLabel);
  if (!labels.ok()) return;
  std::erase_if(work.wanted, [&labels](const std::string& name) {
    const auto found = labels->find(name);
    return found != labels->end() && found->second == "hearth";
  });
}

void PlanNext(bool systemd, Work& work) {
  bool containerd_changes = false;
  for (const FileEdit& edit : work.edits) {
    containerd_changes = containerd_changes || edit.path == plugin::kDropInFile ||
                         edit.path == plugin::kContainerdConfigFile;
  }
  if (!containerd_changes && work.loaded) return;
  work.next.push_back(systemd ? "systemctl daemon-reload && systemctl enable --now hearth"
                              : "start the node: hearth node");
  work.next.push_back(systemd ? "systemctl restart containerd" : "restart containerd");
  work.next.push_back("hearth doctor");
}

void PrintDiffs(const Work& work) {
  for (const FileEdit& edit : work.edits) {
    std::cout << UnifiedDiff(edit.path, edit.before, edit.after);
  }
  for (const std::string& name : work.wanted) {
    std::cout << "label of namespace " << name << ": " << kDefaultSnapshotterLabel << "=hearth"
              << (work.loaded ? "" : " (the node sets it once containerd has hearth loaded)")
              << "\n";
  }
}

// Files first; taken back when containerd cannot read them.
Result<std::vector<std::string>> Carry(const config::NodeConfig& config, const InstallArgs& args,
                                       const Work& work) {
  InstallRecord record = TRY(InstallRecord::Load(args.root_prefix));
  std::vector<std::string> done = TRY(record.Apply(work.edits));
  if (args.root_prefix.empty() && !work.edits.empty()) {
    const Status settled = CheckSettled(work);
    if (!settled.ok()) {
      TRY_STATUS(record.Undo());
      return settled.Annotate("check what was written (it was taken back)");
    }
  }
  record.set_level(work.level);
  record.pending_labels() = work.wanted;
  record.containerd_address() = config.containerd.address;
  TRY_STATUS(record.Save());
  if (!work.loaded || work.wanted.empty()) return done;
  const auto client = plugin::ContainerdClient::Create({.address = config.containerd.address});
  plugin::DefaultSnapshotter labels(
      {.containerd = *client, .address = config.containerd.address, .prefix = args.root_prefix});
  for (const std::string& name : TRY(labels.SetWhereWanted())) {
    done.push_back("labelled namespace " + name + ": " + kDefaultSnapshotterLabel + "=hearth");
  }
  return done;
}

void Report(const Common& common, const Work& work, const std::vector<std::string>& done,
            bool dry_run) {
  if (common.json) {
    json changes = json::array();
    for (const FileEdit& edit : work.edits) {
      changes.push_back(
          {{"path", edit.path}, {"why", edit.why}, {"is_new", !edit.before.has_value()}});
    }
    json labels = json::array();
    for (const std::string& name : work.wanted) labels.push_back(name);
    std::cout << json{{"dry_run", dry_run},
                      {"level", plugin::InstallLevelName(work.level)},
                      {"changes", changes},
                      {"labelled_namespaces", labels},
                      {"next", work.next}}
                     .dump(2, ' ', false, json::error_handler_t::replace)
              << "\n";
    return;
  }
  if (common.quiet) return;
  if (dry_run) PrintDiffs(work);
  for (const std::string& line : done) std::cout << line << "\n";
  if (work.edits.empty() && work.wanted.empty()) std::cout << "nothing to change\n";
  if (!work.next.empty()) std::cout << "Nothing was restarted. Next:\n";
  for (const std::string& step : work.next) std::cout << "  " << step << "\n";
}

Result<int> Install(const Common& common, const InstallArgs& args) {
  const config::NodeConfig config = TRY(NodeConfigBelow(common, args.root_prefix));
  Work work;
  work.level = TRY(ChosenLevel(args));
  InstallOptions options = TRY(MakeOptions(config, common, args));
  options.level = work.level;
  const auto read = [&args](const std::string& path) { return ReadBelow(args.root_prefix, path); };
  for (FileEdit& edit : TRY(plugin::PlanInstall(options, read))) {
    if (edit.Changes()) work.edits.push_back(std::move(edit));
  }
  if (args.root_prefix.empty() && work.level >= InstallLevel::kSnapshotter) {
    PlanLabels(config, work);
  }
  PlanNext(HasSystemd(args), work);
  std::vector<std::string> done;
  if (!args.dry_run) done = TRY(Carry(config, args, work));
  Report(common, work, done, args.dry_run);
  return static_cast<int>(kDone);
}

}  // namespace

int RunInstall(const Common& common, const InstallArgs& args) {
  return EndInstallation("install", Install(common, args));
}

}  // namespace hearth::cmd
