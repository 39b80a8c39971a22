#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/install_files.h"
#include "cmd/subprocess.h"
#include "cmd/unified_diff.h"
#include "plugin/install_record.h"
#include "plugin/installer.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using plugin::FileEdit;
using plugin::InstallOptions;
using plugin::InstallRecord;

constexpr std::chrono::seconds kProgramLimit{30};
constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr const char* kUnitBinary = "/usr/bin/hearth";

// What install is about to do, or did.
struct Work {
  std::vector<FileEdit> edits;                // those that change something
  std::map<std::string, std::string> labels;  // namespace → value before, "" = none
  bool loaded = false;                        // containerd runs with our snapshotter
  std::vector<std::string> next;              // what is left to the user
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

// The unit with the path of this binary in it.
std::string UnitText() {
  std::string text = kHearthServiceText;
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  const size_t at = text.find(kUnitBinary);
  if (!error && at != std::string::npos) text.replace(at, std::string(kUnitBinary).size(), self);
  return text;
}

Result<config::NodeConfig> NodeConfigBelow(const Common& common, const std::string& prefix) {
  const std::string file = prefix + config::kDefaultNodeConfigFile;
  if (!common.config_file.empty() || prefix.empty()) return LoadConfig(common);
  if (!std::filesystem::exists(file)) return config::ParseNodeConfig("", "defaults", common.sets);
  return config::LoadNodeConfig(file, common.sets);
}

Result<InstallOptions> MakeOptions(const config::NodeConfig& config, const Common& common,
                                   const InstallArgs& args) {
  InstallOptions options;
  options.containerd_version = TRY(ContainerdVersionHere());
  options.socket = config.Socket().string();
  options.snapshots_root = (config.root / "snapshots").string();
  options.mirror = config.mirror.listen;
  options.keep_overlayfs = args.keep_overlayfs;
  if (common.config_file.empty()) options.node_config = kNodeTomlText;
  if (std::filesystem::exists(args.root_prefix + "/run/systemd/system")) options.unit = UnitText();
  const bool configured = std::filesystem::exists(plugin::kContainerdConfigFile);
  if (args.root_prefix.empty() && configured) options.effective_config = TRY(DumpConfig());
  return options;
}

// Namespaces whose default snapshotter is not ours yet, where a running containerd has it loaded:
// before, the label would break every pull.
void PlanLabels(const config::NodeConfig& config, Work& work) {
  if (config.containerd.address.empty()) return;
  const Ctr ctr(config.containerd.address);
  const auto plugins = ctr.Plugins();
  if (!plugins.ok()) return;
  for (const ContainerdPlugin& plugin : *plugins) {
    work.loaded = work.loaded || (plugin.type == "io.containerd.snapshotter.v1" &&
                                  plugin.id == "hearth" && plugin.status == "ok");
  }
  const auto labels = ctr.NamespaceLabels(kDefaultSnapshotterLabel);
  if (!work.loaded || !labels.ok()) return;
  for (const std::string& name :
       {std::string("k8s.io"), std::string("default"), config.containerd.containerd_namespace}) {
    const auto found = labels->find(name);
    const std::string before = found == labels->end() ? "" : found->second;
    if (before != "hearth") work.labels[name] = before;
  }
}

void PlanNext(const InstallOptions& options, Work& work) {
  bool containerd_changes = false;
  for (const FileEdit& edit : work.edits) {
    containerd_changes = containerd_changes || edit.path == plugin::kDropInFile ||
                         edit.path == plugin::kContainerdConfigFile;
  }
  if (!containerd_changes && work.loaded) return;
  const bool systemd = !options.unit.empty();
  work.next.push_back(systemd ? "systemctl daemon-reload && systemctl enable --now hearth"
                              : "start the node: hearth node");
  work.next.push_back(systemd ? "systemctl restart containerd" : "restart containerd");
  work.next.push_back(
      "hearth install   (once more: it makes hearth the namespaces' default snapshotter)");
  work.next.push_back("hearth doctor");
}

void PrintDiffs(const Work& work) {
  for (const FileEdit& edit : work.edits) {
    std::cout << UnifiedDiff(edit.path, edit.before, edit.after);
  }
  for (const auto& [name, before] : work.labels) {
    std::cout << "label of namespace " << name << ": " << kDefaultSnapshotterLabel
              << "=hearth (now: " << (before.empty() ? "none" : before) << ")\n";
  }
}

// Files first; taken back when containerd cannot read them.
Result<std::vector<std::string>> Carry(const config::NodeConfig& config, const InstallArgs& args,
                                       Work& work) {
  InstallRecord record = TRY(InstallRecord::Load(args.root_prefix));
  std::vector<std::string> done = TRY(record.Apply(work.edits));
  if (args.root_prefix.empty() && !work.edits.empty()) {
    const auto dump = DumpConfig();
    if (!dump.ok()) {
      TRY_STATUS(record.Undo());
      return dump.status().Annotate("check what was written (it was taken back)");
    }
  }
  const Ctr ctr(config.containerd.address);
  for (const auto& [name, before] : work.labels) {
    TRY_STATUS(ctr.LabelNamespace(name, kDefaultSnapshotterLabel, "hearth"));
    record.labels().emplace(name, before);
    TRY_STATUS(record.Save());
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
    for (const auto& [name, before] : work.labels) labels.push_back(name);
    std::cout << json{{"dry_run", dry_run},
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
  if (work.edits.empty() && work.labels.empty()) std::cout << "nothing to change\n";
  if (!work.next.empty()) std::cout << "Nothing was restarted. Next:\n";
  for (const std::string& step : work.next) std::cout << "  " << step << "\n";
}

Result<int> Install(const Common& common, const InstallArgs& args) {
  const config::NodeConfig config = TRY(NodeConfigBelow(common, args.root_prefix));
  const InstallOptions options = TRY(MakeOptions(config, common, args));
  Work work;
  const auto read = [&args](const std::string& path) { return ReadBelow(args.root_prefix, path); };
  for (FileEdit& edit : TRY(plugin::PlanInstall(options, read))) {
    if (edit.Changes()) work.edits.push_back(std::move(edit));
  }
  if (args.root_prefix.empty()) PlanLabels(config, work);
  PlanNext(options, work);
  std::vector<std::string> done;
  if (!args.dry_run) done = TRY(Carry(config, args, work));
  Report(common, work, done, args.dry_run);
  return static_cast<int>(kDone);
}

std::string Describe(const InstallRecord::Restoration& restoration) {
  using How = InstallRecord::Restoration::How;
  std::string text;
  switch (restoration.how) {
    case How::kBringBack:
      text = "bring back ";
      break;
    case How::kRemove:
      text = "remove ";
      break;
    case How::kRemoveImport:
      text = "take our import out of ";
      break;
    case How::kLeave:
      text = "leave ";
      break;
  }
  return text + restoration.path + (restoration.note.empty() ? "" : ": " + restoration.note);
}

// Labels back to what they were; what cannot be done is said.
std::vector<std::string> RestoreLabels(const std::string& address, const InstallRecord& record) {
  std::vector<std::string> done;
  for (const auto& [name, before] : record.labels()) {
    const Status status = Ctr(address).LabelNamespace(name, kDefaultSnapshotterLabel, before);
    done.push_back(status.ok() ? "restored namespace " + name + "'s label"
                               : "namespace " + name + " keeps its label: " + status.message() +
                                     " (run: ctr namespaces label " + name + " " +
                                     kDefaultSnapshotterLabel + "=" + before + ")");
  }
  return done;
}

Result<int> Uninstall(const Common& common, const InstallArgs& args) {
  InstallRecord record = TRY(InstallRecord::Load(args.root_prefix));
  std::vector<std::string> lines;
  if (args.dry_run) {
    for (const auto& restoration : TRY(record.PlanRestore())) {
      lines.push_back("would " + Describe(restoration));
    }
    for (const auto& [name, before] : record.labels()) {
      lines.push_back("would restore namespace " + name + "'s label");
    }
  } else if (!record.empty()) {
    // The node's own configuration may be among the files that go.
    const auto config = TRY(NodeConfigBelow(common, args.root_prefix));
    lines = RestoreLabels(config.containerd.address, record);
    for (std::string& line : TRY(record.Restore())) lines.push_back(std::move(line));
  }
  if (common.json) {
    std::cout << json{{"dry_run", args.dry_run}, {"changes", lines}}.dump(
                     2, ' ', false, json::error_handler_t::replace)
              << "\n";
    return static_cast<int>(kDone);
  }
  if (common.quiet) return static_cast<int>(kDone);
  for (const std::string& line : lines) std::cout << line << "\n";
  if (lines.empty()) {
    std::cout << "nothing is installed (no " << InstallRecord::kFile << ")\n";
  } else if (!args.dry_run) {
    std::cout << "Nothing was restarted. Next: restart containerd, then stop the node. Images that "
                 "were pulled through Hearth have to be pulled again.\n";
  }
  return static_cast<int>(kDone);
}

int Finish(const std::string& what, const Result<int>& result) {
  if (result.ok()) return *result;
  const int code = Fail(what, result.status());
  return code == kNotThere ? static_cast<int>(kFailed) : code;
}

}  // namespace

int RunInstall(const Common& common, const InstallArgs& args) {
  return Finish("install", Install(common, args));
}

int RunUninstall(const Common& common, const InstallArgs& args) {
  return Finish("uninstall", Uninstall(common, args));
}

}  // namespace hearth::cmd
