#include "cmd/mirror_checks.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "net/http_client.h"
#include "plugin/installer.h"
#include "plugin/toml_edit.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::milliseconds kLimit{3'000};
constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr const char* kInstall = "run: hearth install (it writes the file; nothing is restarted)";
constexpr const char* kCold = "pulls go past the node: nothing that is preheated is used";

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t from = 0; from <= list.size();) {
    const size_t colon = std::min(list.find(':', from), list.size());
    if (colon > from) parts.push_back(list.substr(from, colon - from));
    from = colon + 1;
  }
  return parts;
}

// 2.1 and later take config_path for one directory.
bool TakesOneDirectory(const std::string& version) {
  return version.starts_with("2.") && !version.starts_with("2.0.");
}

// Registries with a file of their own that does not name `host`: it wins over _default.
std::string PastTheMirror(const std::string& directory, const std::string& host) {
  std::string names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name == "_default") continue;
    const auto text = ReadFile(it->path() / "hosts.toml", kMaxFileBytes);
    if (!text.ok()) continue;
    const auto named = plugin::TomlHas(*text, {"host", host});
    if (!named.ok() || !*named) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

void CheckHosts(const MirrorOptions& options, Findings& findings) {
  const std::string check = "registry hosts";
  const std::string& paths = options.containerd.hosts_directories;
  if (paths.empty()) {
    return findings.Fail(check, "CRI's registry config_path is not set", kCold,
                         "run: hearth install, then restart containerd");
  }
  const auto directories = Split(paths);
  if (directories.size() > 1 && TakesOneDirectory(options.containerd.version)) {
    return findings.Fail(check, "config_path names several directories: " + paths,
                         "this containerd takes them for one, which is not there",
                         "name one directory, then restart containerd");
  }
  const std::string host =
      "http://" + (options.node ? options.node->mirror : options.config.mirror.listen);
  for (const std::string& directory : directories) {
    const std::string file = options.prefix + directory + "/_default/hosts.toml";
    const auto text = ReadFile(file, kMaxFileBytes);
    if (text.status().code() == StatusCode::kNotFound) continue;
    const auto named = text.ok() ? plugin::TomlHas(*text, {"host", host}) : text.status();
    if (!named.ok()) {
      return findings.Fail(check, file + ": " + named.status().message(),
                           "containerd ignores the file silently, so " + std::string(kCold),
                           "mend it, or move it away and run: hearth install");
    }
    if (!*named) {
      return findings.Fail(check, file + " does not name " + host, kCold,
                           "add [host.\"" + host + "\"], or move it away and run: hearth install");
    }
    const auto can = plugin::TomlTexts(*text, {"host", host, "capabilities"});
    const bool all = can.ok() && (can->empty() ||
                                  (std::find(can->begin(), can->end(), "pull") != can->end() &&
                                   std::find(can->begin(), can->end(), "resolve") != can->end()));
    if (!all) {
      return findings.Warn(check, file + " does not give it the capabilities pull and resolve",
                           "tags or blobs are asked for at the registry itself",
                           "set capabilities = [\"pull\", \"resolve\"]");
    }
    const std::string others = PastTheMirror(options.prefix + directory, host);
    if (!others.empty()) {
      return findings.Warn(
          check, "hosts.toml files without the mirror: " + others,
          "pulls from these registries go past the node",
          "add [host.\"" + host + "\"] to them, or move them to [registry] endpoints of node.toml");
    }
    return findings.Ok(check, file + " names " + host);
  }
  findings.Fail(check, "there is no _default/hosts.toml in " + paths, kCold, kInstall);
}

void CheckAnswer(const std::string& address, Findings& findings) {
  const std::string check = "mirror";
  const auto client = net::HttpClient::Create({});
  if (!client.ok()) return findings.Fail(check, client.status().message(), "", "");
  net::HttpRequest request;
  request.url = "http://" + address + "/v2/";
  request.connect_timeout = request.stall_timeout = kLimit;
  const auto response = (*client)->Fetch(std::move(request), kMaxFileBytes);
  if (!response.ok()) {
    return findings.Fail(check, address + ": " + response.status().message(), kCold,
                         "restart the node; see that nothing else has the port");
  }
  if (response->status != 200) {
    return findings.Fail(check, address + " answers /v2/ with " + std::to_string(response->status),
                         kCold, "see that the port is the node's: another program may have it");
  }
  findings.Ok(check, "answers at " + address);
}

}  // namespace

void CheckMirror(const MirrorOptions& options, Findings& findings) {
  if (options.containerd.installed) CheckHosts(options, findings);
  if (options.node) CheckAnswer(options.node->mirror, findings);
}

}  // namespace hearth::cmd
