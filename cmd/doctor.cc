#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/finding.h"
#include "cmd/subprocess.h"
#include "plugin/installer.h"
#include "plugin/toml_edit.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kProgramLimit{30};
constexpr std::chrono::milliseconds kMirrorLimit{3'000};
constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr size_t kMaxProcBytes = 64 * 1024;
constexpr double kLowSpacePercent = 20;  // kubelet evicts from about here on
constexpr double kNoSpacePercent = 5;
constexpr int64_t kOldestPlausibleTime = 1'704'067'200;  // 2024-01-01: this program is younger
constexpr const char* kInstall = "run: hearth install, then restart containerd";

// Runs the checks one after the other; each adds what it found.
class Doctor {
 public:
  Doctor(const config::NodeConfig& config, std::string prefix)
      : config_(config), prefix_(std::move(prefix)), ctr_(config.containerd.address) {}

  std::vector<Finding> Examine() {
    CheckContainerdVersion();
    CheckContainerdConfig();
    CheckHosts();
    CheckPlugins();
    CheckDefaultSnapshotter();
    CheckNode();
    CheckSocket("socket for containerd", config_.Socket());
    CheckSocket("socket for commands", config_.AdminSocket());
    CheckMirror();
    CheckOverlay();
    CheckSpace();
    CheckClock();
    return std::move(findings_);
  }

 private:
  void Ok(const std::string& check, const std::string& detail) {
    findings_.push_back({Finding::State::kOk, check, detail, ""});
  }
  void Warn(const std::string& check, const std::string& detail, const std::string& advice) {
    findings_.push_back({Finding::State::kWarn, check, detail, advice});
  }
  void Fail(const std::string& check, const std::string& detail, const std::string& advice) {
    findings_.push_back({Finding::State::kFail, check, detail, advice});
  }

  void CheckContainerdVersion();
  void CheckContainerdConfig();
  void CheckHosts();
  void CheckPlugins();
  void CheckDefaultSnapshotter();
  void CheckNode();
  void CheckSocket(const std::string& check, const std::filesystem::path& path);
  void CheckMirror();
  void CheckOverlay();
  void CheckSpace();
  void CheckClock();

  // What is wrong in containerd's effective configuration, "" where all is as install writes it.
  Result<std::string> ConfigProblem(const std::string& dump) const;

  const config::NodeConfig& config_;
  const std::string prefix_;
  const Ctr ctr_;
  std::string hosts_directory_ = plugin::kDefaultHostsDirectory;
  std::string mirror_;  // where it really listens, from the node
  std::vector<Finding> findings_;
};

void Doctor::CheckContainerdVersion() {
  const std::string check = "containerd version";
  const auto printed = RunProgram({"containerd", "--version"}, kProgramLimit);
  if (!printed.ok()) {
    return Fail(check, printed.status().message(), "install containerd, or put it on PATH");
  }
  const auto version = plugin::ParseContainerdVersion(printed->out);
  if (!version.ok()) return Fail(check, version.status().message(), "install containerd 2.x");
  if (!version->starts_with("2.")) {
    return Warn(check, *version + " is configured by hand only",
                "upgrade to containerd 2.x, which hearth install configures");
  }
  Ok(check, *version);
}

Result<std::string> Doctor::ConfigProblem(const std::string& dump) const {
  const auto disabled = TRY(plugin::TomlList(dump, "disabled_plugins"));
  if (std::find(disabled.begin(), disabled.end(), "io.containerd.content.v1.content") ==
      disabled.end()) {
    return std::string("containerd's own content store is not disabled");
  }
  for (const char* id : {"hearth-content", "hearth", "hearth-diff"}) {
    const auto address = TRY(plugin::TomlText(dump, {"proxy_plugins", id, "address"}));
    if (!address) return "no [proxy_plugins." + std::string(id) + "]";
    if (*address != config_.Socket().string()) {
      return "[proxy_plugins." + std::string(id) + "] goes to " + *address + ", the node is at " +
             config_.Socket().string();
    }
  }
  return std::string();
}

void Doctor::CheckContainerdConfig() {
  const std::string check = "containerd config";
  const std::string file = prefix_ + plugin::kContainerdConfigFile;
  const auto printed =
      RunProgram({"containerd", "--config", file, "config", "dump"}, kProgramLimit);
  if (!printed.ok()) return Fail(check, printed.status().message(), "install containerd");
  if (printed->exit_code != 0) {
    return Fail(check, file + " cannot be read: " + printed->err, "mend the file");
  }
  const auto problem = ConfigProblem(printed->out);
  if (!problem.ok()) return Fail(check, problem.status().message(), "mend " + file);
  const auto hosts = plugin::TomlText(
      printed->out, {"plugins", "io.containerd.cri.v1.images", "registry", "config_path"});
  if (hosts.ok() && *hosts && !(*hosts)->empty()) hosts_directory_ = **hosts;
  if (!problem->empty()) return Fail(check, *problem, kInstall);
  const auto cri =
      plugin::TomlText(printed->out, {"plugins", "io.containerd.cri.v1.images", "snapshotter"});
  if (cri.ok() && *cri && **cri != "hearth") {
    return Warn(check, "CRI uses snapshotter " + **cri + ", so kubelet's pulls stay cold",
                kInstall);
  }
  Ok(check, "content store, snapshotter and differ are the node's");
}

void Doctor::CheckHosts() {
  const std::string check = "registry hosts";
  if (hosts_directory_.find(':') != std::string::npos) {
    return Warn(check,
                "config_path names several directories, which containerd's transfer service "
                "takes for one: " +
                    hosts_directory_,
                "name one directory");
  }
  const std::string file = prefix_ + hosts_directory_ + "/_default/hosts.toml";
  const auto text = ReadFile(file, kMaxFileBytes);
  if (!text.ok()) return Fail(check, text.status().message(), kInstall);
  const std::string host = "http://" + config_.mirror.listen;
  const auto found = plugin::TomlHas(*text, {"host", host});
  if (!found.ok()) {
    return Fail(check, file + ": " + found.status().message() + "; containerd ignores it silently",
                "mend it, or move it away and run: hearth install");
  }
  if (!*found) return Fail(check, file + " does not name " + host, kInstall);
  std::string others;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(prefix_ + hosts_directory_, error)) {
    const std::string name = entry.path().filename().string();
    const auto own = ReadFile(entry.path() / "hosts.toml", kMaxFileBytes);
    if (name != "_default" && own.ok() && own->find(host) == std::string::npos) {
      others += (others.empty() ? "" : ", ") + name;
    }
  }
  if (!others.empty()) {
    return Warn(check, "these have hosts.toml files of their own without the mirror: " + others,
                "add [host.\"" + host + "\"] to them, or move them to [registry] endpoints");
  }
  Ok(check, file + " names " + host);
}

void Doctor::CheckPlugins() {
  const std::string check = "containerd plugins";
  if (config_.containerd.address.empty()) {
    return Warn(check, "no containerd is configured ([containerd] address is empty)", "");
  }
  const auto plugins = ctr_.Plugins();
  if (!plugins.ok()) {
    return Fail(check, plugins.status().message(), "start containerd, and see its log");
  }
  std::string failed;
  for (const ContainerdPlugin& plugin : *plugins) {
    if (plugin.status == "error") failed += (failed.empty() ? "" : ", ") + plugin.id;
  }
  for (const char* id : {"hearth-content", "hearth", "hearth-diff"}) {
    const auto found = std::find_if(plugins->begin(), plugins->end(),
                                    [id](const auto& plugin) { return plugin.id == id; });
    if (found == plugins->end()) {
      return Fail(check, std::string(id) + " is not loaded",
                  "run: hearth install, then restart containerd");
    }
    if (found->status != "ok") {
      return Fail(check, std::string(id) + " is " + found->status, "see containerd's log");
    }
  }
  if (!failed.empty()) {
    return Warn(check, "failed: " + failed, "ctr plugins ls -d shows why");
  }
  Ok(check, "hearth-content, hearth and hearth-diff are loaded");
}

void Doctor::CheckDefaultSnapshotter() {
  const std::string check = "default snapshotter";
  if (config_.containerd.address.empty()) return;
  const auto labels = ctr_.NamespaceLabels(kDefaultSnapshotterLabel);
  if (!labels.ok()) {
    return Fail(check, labels.status().message(), "start containerd, and see its log");
  }
  const std::string& name = config_.containerd.containerd_namespace;
  const auto found = labels->find(name);
  if (found == labels->end() || found->second != "hearth") {
    return Warn(check,
                "namespace " + name + " has " +
                    (found == labels->end() ? std::string("no default snapshotter")
                                            : "snapshotter " + found->second),
                "run: hearth install (once more, now that containerd has it loaded)");
  }
  Ok(check, "hearth, in namespace " + name);
}

void Doctor::CheckNode() {
  const std::string check = "node";
  const auto client = AdminClient::Create(config_.AdminSocket());
  if (!client.ok()) return Fail(check, client.status().message(), "");
  const auto body = (*client)->Call("GET", "/v1/status");
  if (!body.ok()) {
    return Fail(check, body.status().message(), "run: systemctl start hearth, or hearth node");
  }
  const json status = json::parse(*body, nullptr, false);
  if (!status.is_object()) return Fail(check, "its status cannot be read", "restart the node");
  mirror_ = status.value("mirror", "");
  const std::string version = status.value("version", "");
  if (version != HEARTH_VERSION) {
    Warn(check, "the node is " + version + ", this command is " HEARTH_VERSION, "restart the node");
  } else {
    Ok(check, "answers at " + config_.AdminSocket().string() + ", version " + version);
  }
  if (config_.containerd.address.empty()) return;
  const json containerd = status.value("containerd", json());
  if (!containerd.is_object() || !containerd.value("connected", false)) {
    const std::string why = containerd.is_object() ? containerd.value("error", "") : "";
    return Fail("node to containerd", "not connected" + (why.empty() ? "" : ": " + why),
                "start containerd, or set [containerd] address");
  }
  Ok("node to containerd", "connected, UUID " + containerd.value("uuid", ""));
}

void Doctor::CheckSocket(const std::string& check, const std::filesystem::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return Fail(check, ErrnoStatus(errno, path.string()).message(),
                "run: systemctl start hearth, or hearth node");
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Fail(check, path.string() + " is no socket", "remove it and restart the node");
  }
  if ((info.st_mode & 0777) != 0600 || info.st_uid != 0) {
    return Fail(check, path.string() + " is open to others than root",
                "restart the node; nothing else may change its mode");
  }
  Ok(check, path.string() + ", for root only");
}

void Doctor::CheckMirror() {
  const std::string check = "mirror";
  const std::string address = mirror_.empty() ? config_.mirror.listen : mirror_;
  auto client = net::HttpClient::Create({});
  if (!client.ok()) return Fail(check, client.status().message(), "");
  net::HttpRequest request;
  request.url = "http://" + address + "/v2/";
  request.connect_timeout = kMirrorLimit;
  request.stall_timeout = kMirrorLimit;
  const auto response = (*client)->Fetch(std::move(request), kMaxFileBytes);
  if (!response.ok()) {
    return Fail(check, address + ": " + response.status().message(),
                "start the node; see that nothing else has the port");
  }
  if (response->status != 200) {
    return Fail(check, address + " answers /v2/ with " + std::to_string(response->status),
                "see that the port is the node's: another program may have it");
  }
  Ok(check, "answers at " + address);
}

void Doctor::CheckOverlay() {
  const std::string check = "overlayfs";
  // A file of /proc has no size beforehand.
  std::string found(kMaxProcBytes, '\0');
  const auto fd = OpenFile("/proc/filesystems", O_RDONLY);
  const auto size = fd.ok() ? ReadAt(fd->get(), found, 0) : Result<size_t>(fd.status());
  found.resize(size.ok() ? *size : 0);
  if (found.find("\toverlay\n") == std::string::npos) {
    return Warn(check, "the kernel has it not loaded", "run: modprobe overlay");
  }
  Ok(check, "the kernel has it");
}

void Doctor::CheckSpace() {
  const std::string check = "disk space";
  std::filesystem::path path = config_.root;
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) {
    path = path.parent_path();
  }
  struct statvfs info {};
  if (statvfs(path.c_str(), &info) != 0 || info.f_blocks == 0) {
    return Fail(check, ErrnoStatus(errno, path.string()).message(), "see that root is on a disk");
  }
  const double percent =
      100.0 * static_cast<double>(info.f_bavail) / static_cast<double>(info.f_blocks);
  const std::string free = FormatByteSize(uint64_t{info.f_bavail} * info.f_frsize) + " (" +
                           std::to_string(static_cast<int>(percent)) + "%) free for " +
                           config_.root.string();
  if (percent < kNoSpacePercent) return Fail(check, free, "free some space, or move root");
  if (percent < kLowSpacePercent) {
    return Warn(check, free, "kubelet begins to evict images about here: free some space");
  }
  if (info.f_files > 0 && info.f_favail * 20 < info.f_files) {
    return Warn(check, free + ", but inodes are nearly used up", "free some files, or move root");
  }
  Ok(check, free);
}

void Doctor::CheckClock() {
  const std::string check = "clock";
  const int64_t now = ToUnixNanos(RealClock().WallNow()) / 1'000'000'000;
  if (now < kOldestPlausibleTime) {
    return Fail(check, "it is before 2024 here, so certificates and pins cannot be judged",
                "set the clock, and run a time service");
  }
  timex state{};
  if (adjtimex(&state) < 0 || (state.status & STA_UNSYNC) != 0) {
    return Warn(check, "no time service keeps it",
                "run one (systemd-timesyncd, chrony), unless the host does");
  }
  Ok(check, "kept by a time service");
}

}  // namespace

int RunDoctor(const Common& common, const DoctorArgs& args) {
  Common located = common;
  const std::string file = args.root_prefix + config::kDefaultNodeConfigFile;
  if (located.config_file.empty() && std::filesystem::exists(file)) located.config_file = file;
  const auto config = LoadConfig(located);
  if (!config.ok()) return Fail("doctor", config.status());
  const std::vector<Finding> findings = Doctor(*config, args.root_prefix).Examine();
  if (common.json) {
    std::cout << FindingsJson(findings) << "\n";
  } else if (!common.quiet) {
    std::cout << FindingsText(findings);
  }
  return AnyFailed(findings) ? kFailed : kDone;
}

}  // namespace hearth::cmd
