#include "cmd/containerd_checks.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "cmd/subprocess.h"
#include "plugin/config_review.h"
#include "plugin/default_snapshotter.h"
#include "plugin/inspect_client.h"
#include "plugin/install_record.h"
#include "plugin/installer.h"

namespace hearth::cmd {

namespace {

using plugin::InstallLevel;
using plugin::InstallRecord;
using plugin::LoadedPlugin;

constexpr std::chrono::seconds kProgramLimit{30};
constexpr const char* kInstall = "run: hearth install, then restart containerd";
constexpr const char* kRestart = "run: systemctl restart containerd";
constexpr const char* kContentType = "io.containerd.content.v1";

bool IsKnown(const std::string& version) {
  return version.starts_with("1.6.") || version.starts_with("1.7.") || version.starts_with("2.");
}

class ContainerdCheck {
 public:
  ContainerdCheck(const ContainerdOptions& options, Findings& findings)
      : options_(options), findings_(findings) {}

  ContainerdFacts Run() {
    const std::string& address = options_.config.containerd.address;
    if (address.empty()) {
      findings_.Ok("containerd", "none is configured ([containerd] address is empty)");
      return facts_;
    }
    CheckProgram();
    CheckConfig();
    containerd_ = plugin::InspectClient::Create({.address = address});
    if (!CheckRunning()) return facts_;
    if (!facts_.installed || facts_.level == InstallLevel::kMirror) return facts_;
    if (!CheckPlugins()) return facts_;
    if (options_.node_answers) CheckUse();
    CheckDefaults();
    return facts_;
  }

 private:
  void CheckProgram();
  void CheckConfig();
  bool CheckRunning();
  bool CheckPlugins();
  void CheckContentStore(const std::vector<LoadedPlugin>& plugins);
  void CheckUse();
  void CheckDefaults();
  // The level that was installed, else what the configuration amounts to. False: nothing is.
  bool FindLevel(const std::string& dump);
  std::vector<std::string> Wanted() const;

  const ContainerdOptions& options_;
  Findings& findings_;
  ContainerdFacts facts_;
  std::unique_ptr<plugin::InspectClient> containerd_;
};

void ContainerdCheck::CheckProgram() {
  const std::string check = "containerd version";
  const auto printed = RunProgram({"containerd", "--version"}, kProgramLimit);
  if (!printed.ok()) {
    return findings_.Warn(check, printed.status().message(),
                          "its configuration cannot be checked, only what it says while it runs",
                          "install containerd, or put it on PATH");
  }
  const auto version = plugin::ParseContainerdVersion(printed->out);
  if (!version.ok()) {
    return findings_.Fail(check, version.status().message(), "what it has to be told is not known",
                          "install containerd 2.x");
  }
  facts_.version = *version;
  if (!IsKnown(*version)) {
    return findings_.Fail(check, *version, "Hearth knows 1.6, 1.7 and 2.x",
                          "upgrade containerd to 2.x");
  }
  findings_.Ok(check, *version);
}

bool ContainerdCheck::FindLevel(const std::string& dump) {
  const std::string check = "install level";
  const auto record = InstallRecord::Load(options_.prefix);
  const auto made = plugin::LevelOf(dump);
  if (!record.ok()) {
    findings_.Warn(check, record.status().message(), "uninstall cannot take back what was changed",
                   "bring the file back from a backup");
  }
  if (record.ok() && record->level()) {
    facts_.level = *record->level();
    findings_.Ok(check, plugin::InstallLevelName(facts_.level) + ", by hearth install");
    return true;
  }
  if (!made.ok()) return false;
  facts_.level = *made;
  if (*made == InstallLevel::kMirror && (!record.ok() || record->empty())) {
    findings_.Fail(check, "Hearth is not installed in containerd",
                   "containerd pulls as if there were no node", kInstall);
    return false;
  }
  findings_.Ok(check, plugin::InstallLevelName(*made) + ", as containerd's configuration says");
  return true;
}

void ContainerdCheck::CheckConfig() {
  if (facts_.version.empty()) return;
  const std::string check = "containerd config";
  const std::string file = options_.prefix + plugin::kContainerdConfigFile;
  // Without a file containerd runs on its defaults.
  std::vector<std::string> argv = {"containerd", "--config", file, "config", "dump"};
  std::error_code error;
  if (!std::filesystem::exists(file, error)) argv = {"containerd", "config", "default"};
  const auto printed = RunProgram(argv, kProgramLimit);
  if (!printed.ok() || printed->exit_code != 0) {
    const std::string said = printed.ok() ? printed->err : printed.status().message();
    return findings_.Fail(check, file + ": " + said.substr(0, said.find_last_not_of('\n') + 1),
                          "containerd does not start with it", "mend the file it names");
  }
  facts_.installed = FindLevel(printed->out);
  const auto hosts = plugin::HostsDirectories(printed->out);
  if (hosts.ok()) facts_.hosts_directories = *hosts;
  if (!facts_.installed) return;
  const auto problems = plugin::ReviewConfig(
      printed->out, {.version = facts_.version,
                     .level = facts_.level,
                     .socket = options_.config.Socket().string(),
                     .snapshots_root = (options_.config.root / "snapshots").string()});
  if (!problems.ok()) {
    return findings_.Fail(check, problems.status().message(), "what it says is not known",
                          "mend " + file);
  }
  for (const plugin::ConfigProblem& one : *problems) {
    findings_.Add({one.grave ? Finding::State::kFail : Finding::State::kWarn, check, one.what,
                   one.why, one.advice});
  }
  if (problems->empty())
    findings_.Ok(check, "as level " + plugin::InstallLevelName(facts_.level) + " asks");
}

bool ContainerdCheck::CheckRunning() {
  const std::string check = "containerd";
  const auto version = containerd_->Version();
  if (!version.ok()) {
    findings_.Fail(check, "does not answer: " + version.status().message(),
                   "no image is pulled and no container started on this machine",
                   "run: systemctl start containerd; journalctl -u containerd says why it ended "
                   "(or set [containerd] address)");
    return false;
  }
  // Packages add to it, each in its own way: the numbers count.
  const auto running = plugin::ParseContainerdVersion(*version);
  if (running.ok() && !facts_.version.empty() && *running != facts_.version) {
    findings_.Warn(check, "the running one is " + *running + ", the program is " + facts_.version,
                   "an upgrade takes effect with the next start only", kRestart);
  } else {
    findings_.Ok(check, *version + " answers at " + options_.config.containerd.address);
  }
  return true;
}

bool ContainerdCheck::CheckPlugins() {
  const std::string check = "containerd plugins";
  const auto plugins = containerd_->Plugins();
  if (!plugins.ok()) {
    findings_.Fail(check, plugins.status().message(), "what it has loaded is not known", kRestart);
    return false;
  }
  std::vector<std::string> wanted = {"hearth"};
  if (facts_.level == InstallLevel::kContent) {
    wanted.emplace_back("hearth-content");
    if (!facts_.version.starts_with("1.6.")) wanted.emplace_back("hearth-diff");
  }
  std::string loaded;
  for (const std::string& id : wanted) {
    const auto found = std::find_if(plugins->begin(), plugins->end(),
                                    [&id](const LoadedPlugin& one) { return one.id == id; });
    if (found == plugins->end()) {
      findings_.Fail(check, id + " is not loaded",
                     "the running containerd was started before it was configured", kRestart);
      return false;
    }
    if (!found->error.empty()) {
      findings_.Fail(check, id + " failed: " + found->error, "containerd does without it",
                     "mend what it names, then restart containerd");
      return false;
    }
    loaded += (loaded.empty() ? "" : ", ") + id;
  }
  bool failed = false;
  for (const LoadedPlugin& one : *plugins) {
    if (one.error.empty() || one.skipped) continue;
    failed = true;
    findings_.Warn(check, one.type + "." + one.id + " failed: " + one.error,
                   "containerd does without it", "ctr plugins ls -d shows more");
  }
  if (!failed) findings_.Ok(check, loaded + " loaded, none failed");
  if (facts_.level == InstallLevel::kContent) CheckContentStore(*plugins);
  return true;
}

// containerd's metadata takes the one content plugin that there is.
void ContainerdCheck::CheckContentStore(const std::vector<LoadedPlugin>& plugins) {
  const std::string check = "content store";
  for (const LoadedPlugin& one : plugins) {
    if (one.type != kContentType || one.id == "hearth-content" || !one.error.empty()) continue;
    return findings_.Fail(
        check, "containerd has " + one.id + " loaded beside hearth-content",
        "it keeps blobs of its own: preheats are not found, bytes lie there twice", kInstall);
  }
  findings_.Ok(check, "hearth-content is the only one that containerd has");
}

// "Loaded" says nothing of the process behind the socket, so one call goes all the way.
void ContainerdCheck::CheckUse() {
  const std::string check = "snapshotter in use";
  const auto place =
      containerd_->TrySnapshotter(options_.config.containerd.containerd_namespace, "hearth");
  if (!place.ok()) {
    return findings_.Fail(check, place.status().message(),
                          "no container can be started from layers of the node",
                          "restart the node, and see both logs");
  }
  const std::string root = (options_.config.root / "snapshots").string() + "/";
  if (!place->starts_with(root)) {
    return findings_.Fail(
        check, "a snapshot came to lie in " + *place + ", not below " + root,
        "another node than this one serves containerd",
        "set [containerd] address and root as they are meant, then: hearth install");
  }
  findings_.Ok(check, "a snapshot made through containerd came from this node");
}

std::vector<std::string> ContainerdCheck::Wanted() const {
  std::set<std::string> names = {"k8s.io", "default",
                                 options_.config.containerd.containerd_namespace};
  return {names.begin(), names.end()};
}

void ContainerdCheck::CheckDefaults() {
  const std::string check = "default snapshotter";
  const auto namespaces = containerd_->Namespaces();
  if (!namespaces.ok()) {
    return findings_.Fail(check, namespaces.status().message(), "the defaults are not known",
                          kRestart);
  }
  const auto record = InstallRecord::Load(options_.prefix);
  const bool pending = record.ok() && !record->pending_labels().empty();
  std::string fine;
  for (const std::string& name : Wanted()) {
    const auto one = namespaces->find(name);
    const auto label = one == namespaces->end()
                           ? std::map<std::string, std::string>::const_iterator()
                           : one->second.find(plugin::kDefaultSnapshotterLabel);
    const bool has = one != namespaces->end() && label != one->second.end();
    if (has && label->second == "hearth") {
      fine += (fine.empty() ? "" : ", ") + name;
      continue;
    }
    findings_.Warn(check,
                   "namespace " + name + " has " +
                       (has ? "snapshotter " + label->second : std::string("none named")),
                   "clients that name no snapshotter pull there with containerd's own, and cold",
                   pending ? "the node sets it as soon as it sees containerd: see its log"
                           : "run: hearth install (once more, now that containerd has it loaded)");
  }
  if (!fine.empty()) findings_.Ok(check, "hearth, in " + fine);
}

}  // namespace

ContainerdFacts CheckContainerd(const ContainerdOptions& options, Findings& findings) {
  return ContainerdCheck(options, findings).Run();
}

}  // namespace hearth::cmd
