#include "cmd/node_checks.h"

#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cmd/admin_client.h"
#include "cmd/process_files.h"
#include "net/http_client.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kLimit{5'000};
constexpr uint64_t kMaxAnswerBytes = 1024 * 1024;
constexpr uint64_t kFewFiles = 65'536;
constexpr const char* kStart =
    "run: systemctl start hearth; journalctl -u hearth says why it ended";

void CheckSocket(const std::string& check, const std::filesystem::path& path, Findings& findings) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return findings.Fail(check, ErrnoStatus(errno, path.string()).message(),
                         "its users cannot reach the node", "restart the node");
  }
  if (!S_ISSOCK(info.st_mode)) {
    return findings.Fail(check, path.string() + " is no socket", "its users cannot reach the node",
                         "remove it and restart the node");
  }
  if ((info.st_mode & 0777) != 0600 || info.st_uid != 0) {
    return findings.Fail(check, path.string() + " is open to others than root",
                         "whoever may connect can change what containers run",
                         "restart the node, and find out what changed its mode or owner");
  }
  findings.Ok(check, path.string() + ", for root only");
}

void CheckReady(const std::string& address, Findings& findings) {
  const std::string check = "node ready";
  const auto client = net::HttpClient::Create({});
  if (!client.ok()) return findings.Fail(check, client.status().message(), "", "");
  net::HttpRequest request;
  request.url = "http://" + address + "/readyz";
  request.connect_timeout = request.stall_timeout = kLimit;
  const auto response = (*client)->Fetch(std::move(request), kMaxAnswerBytes);
  if (!response.ok()) {
    return findings.Fail(check, address + ": " + response.status().message(),
                         "monitoring sees a node that is down", "restart the node");
  }
  if (response->status == 200) return findings.Ok(check, "every socket answers");
  std::string silent;
  const json body = json::parse(response->body, nullptr, /*allow_exceptions=*/false);
  if (body.is_object() && body.contains("checks") && body["checks"].is_array()) {
    for (const json& one : body["checks"]) {
      if (!one.is_object() || one.value("ready", true)) continue;
      silent +=
          (silent.empty() ? "" : "; ") + one.value("name", "") + ": " + one.value("error", "");
    }
  }
  findings.Fail(check,
                silent.empty() ? "/readyz answers " + std::to_string(response->status) : silent,
                "systemd and monitoring take it for not started", "restart the node");
}

void CheckFiles(int pid, Findings& findings) {
  const std::string check = "open files";
  const auto limits = ReadProcessFile("/proc/" + std::to_string(pid) + "/limits");
  const auto limit = limits.ok() ? MaxOpenFiles(*limits) : std::nullopt;
  if (!limit) {
    return findings.Warn(check, "the limit of process " + std::to_string(pid) + " cannot be read",
                         "whether it can run out of file descriptors is not known",
                         "run doctor as root, in the node's own pid namespace");
  }
  std::error_code error;
  uint64_t used = 0;
  for (std::filesystem::directory_iterator it("/proc/" + std::to_string(pid) + "/fd", error), end;
       !error && it != end; it.increment(error)) {
    ++used;
  }
  const std::string found = std::to_string(used) + " of " + std::to_string(*limit);
  if (used * 5 > *limit * 4) {
    return findings.Fail(check, found, "connections and downloads are about to fail",
                         "raise LimitNOFILE= of hearth.service and restart the node");
  }
  if (*limit < kFewFiles) {
    return findings.Warn(check, found, "a node with many pulls at once needs more",
                         "set LimitNOFILE=1048576 (ulimit -n) and restart the node");
  }
  findings.Ok(check, found);
}

void CheckContainerdSide(const json& status, Findings& findings) {
  const std::string check = "node to containerd";
  const json containerd = status.value("containerd", json());
  if (!containerd.is_object()) {
    return findings.Warn(check, "the running node has no containerd, its config file names one",
                         "depth image is off", "restart the node");
  }
  if (!containerd.value("connected", false)) {
    const std::string why = containerd.value("error", "");
    return findings.Fail(check, "not connected" + (why.empty() ? "" : ": " + why),
                         "images cannot be registered, and a wiped containerd goes unnoticed",
                         "start containerd, or set [containerd] address");
  }
  findings.Ok(check, "connected, UUID " + containerd.value("uuid", ""));
}

}  // namespace

std::optional<RunningNode> CheckNode(const config::NodeConfig& config, Findings& findings) {
  const std::string check = "node";
  const std::string why =
      "containerd waits for it: pulls and starts of containers hang where Hearth is installed";
  const auto client = AdminClient::Create(config.AdminSocket(), kLimit);
  if (!client.ok()) {
    findings.Fail(check, client.status().message(), "", "");
    return std::nullopt;
  }
  const auto body = (*client)->Call("GET", "/v1/status");
  if (!body.ok()) {
    findings.Fail(check, body.status().message(), why, kStart);
    return std::nullopt;
  }
  const json status = json::parse(*body, nullptr, /*allow_exceptions=*/false);
  if (!status.is_object()) {
    findings.Fail(check, "its status cannot be read", "another program may have its socket",
                  "restart the node");
    return std::nullopt;
  }
  RunningNode node{.pid = status.value("pid", 0),
                   .mirror = status.value("mirror", ""),
                   .status = status.value("status", "")};
  const std::string version = status.value("version", "");
  if (version != HEARTH_VERSION) {
    findings.Warn(check, "the node is " + version + ", this command is " HEARTH_VERSION,
                  "an upgrade takes effect with the next start only", "restart the node");
  } else {
    findings.Ok(check, "answers at " + config.AdminSocket().string() + ", version " + version);
  }
  if (const std::string root = status.value("root", ""); root != config.root.string()) {
    findings.Warn("store",
                  "the running node has " + root + ", its config file " + config.root.string(),
                  "a restart will begin with another store", "set root as it is meant to be");
  } else {
    findings.Ok("store", root + ", of a version that this node knows");
  }
  CheckReady(node.status, findings);
  if (!config.containerd.address.empty()) CheckContainerdSide(status, findings);
  CheckSocket("socket for containerd", config.Socket(), findings);
  CheckSocket("socket for commands", config.AdminSocket(), findings);
  CheckFiles(node.pid, findings);
  return node;
}

}  // namespace hearth::cmd
