#include "config/node_config.h"

#include <arpa/inet.h>
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/host_port.h"
#include "base/units.h"
#include "config/checks.h"
#include "config/toml_section.h"
#include "oci/reference.h"

namespace hearth::config {

namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMinMemoryBytes = 64ull << 20;
constexpr uint64_t kMaxUploads = 1024;
constexpr size_t kMaxRunPath = 90;  // + "/hearth.sock" must fit into sockaddr_un
constexpr std::chrono::seconds kMaxPrepareWait{30};
constexpr std::chrono::hours kMaxAuthCache{24};
constexpr size_t kMaxNameBytes = 253;
constexpr size_t kMaxClusterBytes = 64;

bool IsIpAddress(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

Status CheckLoopback(const std::string& listen) {
  const std::string host = TRY(ListenHost(listen));
  if (host == "::1" || host.starts_with("127.")) return OkStatus();
  return InvalidArgument("must be a loopback address: it answers without authentication");
}

Status CheckCidr(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  uint32_t bits = 0;
  const uint32_t max_bits = address.find(':') == std::string::npos ? 32 : 128;
  if (slash != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + slash + 1, end, bits);
    if (parsed.ec == std::errc() && parsed.ptr == end && bits <= max_bits && IsIpAddress(address)) {
      return OkStatus();
    }
  }
  return InvalidArgument("\"" + text + "\" is no network (write it as 10.0.0.0/8)");
}

Status CheckOneOf(const std::string& text, const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), text) != words.end()) return OkStatus();
  std::string list;
  for (const std::string& word : words) {
    list += (list.empty() ? "\"" : ", \"") + word + "\"";
  }
  return InvalidArgument("must be one of " + list);
}

void ReadContainerd(TomlSection section, ContainerdConfig& out) {
  section.CheckedText("address", out.address, CheckAbsoluteOrEmpty);
  section.CheckedText("namespace", out.containerd_namespace, [](const std::string& text) {
    return text.empty() ? InvalidArgument("must not be empty") : OkStatus();
  });
  section.Duration("prepare_wait", out.prepare_wait);
  if (out.prepare_wait > kMaxPrepareWait) {
    section.Reject("prepare_wait", "must be at most 30s: containerd holds a lock meanwhile");
  }
}

void ReadMirror(TomlSection section, MirrorConfig& out) {
  section.CheckedText("listen", out.listen, CheckLoopback);
  section.Bool("serve_stale_tags", out.serve_stale_tags);
  section.Duration("auth_cache", out.auth_cache);
  if (out.auth_cache > kMaxAuthCache) {
    section.Reject("auth_cache", "must be at most 24h");
  }
}

void ReadProxy(TomlSection section, ProxyConfig& out) {
  section.Text("default_filter", out.default_filter);
  std::string offline = out.offline_allow ? "allow" : "deny";
  section.CheckedText("offline", offline, [](const std::string& text) {
    return CheckOneOf(text, {"allow", "deny"});
  });
  out.offline_allow = offline == "allow";
  for (TomlSection& rule_section : section.Tables("rule")) {
    ProxyRule rule;
    rule_section.CheckedText("match", rule.match, [](const std::string& text) -> Status {
      const re2::RE2 compiled(text, re2::RE2::Quiet);
      if (compiled.ok()) return OkStatus();
      return InvalidArgument("no regular expression: " + compiled.error());
    });
    if (rule.match.empty()) rule_section.Reject("match", "a rule needs one");
    rule_section.Bool("use_tls", rule.use_tls);
    rule_section.Text("filtered_query_params", rule.filtered_query_params);
    rule_section.Text("tag", rule.tag);
    rule_section.Text("application", rule.application);
    out.rules.push_back(std::move(rule));
  }
}

Status CheckClusterName(const std::string& text) {
  const auto known = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (!text.empty() && text.size() <= kMaxClusterBytes && std::ranges::all_of(text, known)) {
    return OkStatus();
  }
  return InvalidArgument("want 1 to 64 letters, digits, '-', '_' or '.'");
}

void ReadPeer(TomlSection section, PeerConfig& out) {
  section.CheckedText("data_listen", out.data_listen, CheckListen);
  section.CheckedText("control_listen", out.control_listen, CheckListen);
  section.Text("advertise", out.advertise);
  if (out.advertise.find_first_of("/ \t") != std::string::npos) {
    section.Reject("advertise", "want a host name or an address, without a port");
  }
}

void ReadManager(TomlSection section, ManagerLinkConfig& out) {
  section.Texts("addresses", out.addresses);
  for (const std::string& address : out.addresses) {
    const auto parsed = HostPort::Parse(address);
    if (!parsed.ok()) section.Reject("addresses", parsed.status().message());
    if (parsed.ok() && parsed->port == 0) section.Reject("addresses", "needs the manager's port");
  }
  section.CheckedText("cluster", out.cluster, CheckClusterName);
  section.CheckedText("join_token_file", out.join_token_file, CheckAbsoluteOrEmpty);
}

void ReadSpace(TomlSection& section, std::string_view key, SpaceAmount& out) {
  section.Scalar(key, [&out](const std::string& text) -> Status {
    out = TRY(SpaceAmount::Parse(text));
    return OkStatus();
  });
}

void ReadInodes(TomlSection& section, std::string_view key, SpaceAmount& out) {
  section.Scalar(key, [&out](const std::string& text) -> Status {
    const bool share = text.ends_with('%');
    if (!share && text.find_first_not_of("0123456789") != std::string::npos) {
      return InvalidArgument("must be a share (\"10%\") or a number of inodes");
    }
    out = TRY(SpaceAmount::Parse(text));
    return OkStatus();
  });
}

void ReadLimits(TomlSection section, LimitsConfig& out) {
  section.Bytes("upload", out.upload);
  section.Integer("uploads", out.uploads, 1, kMaxUploads);
  section.Bytes("download", out.download);
  section.Bytes("origin", out.origin);
}

void ReadRegistry(TomlSection section, RegistryConfig& out) {
  bool plain_http = false;
  section.Bool("plain_http", plain_http);
  if (section.Has("plain_http")) out.plain_http = plain_http;
  section.CheckedText("ca_file", out.ca_file, CheckAbsoluteOrEmpty);
  section.Texts("endpoints", out.endpoints);
  for (const std::string& endpoint : out.endpoints) {
    if (!endpoint.starts_with("http://") && !endpoint.starts_with("https://")) {
      section.Reject("endpoints", "\"" + endpoint + "\" must begin with https:// or http://");
    }
  }
  section.CheckedText("docker_config", out.docker_config, CheckAbsoluteOrEmpty);
  section.Bool("shared", out.shared);
  std::string strict;
  section.CheckedText("private", strict, [](const std::string& text) {
    return CheckOneOf(text, {"", "strict"});
  });
  out.private_strict = strict == "strict";
}

void ReadTop(TomlSection& root, NodeConfig& out) {
  std::string path = out.root.string();
  root.CheckedText("root", path, CheckAbsolute);
  out.root = path;
  std::string run = out.run.string();
  root.CheckedText("run", run, [](const std::string& text) -> Status {
    TRY_STATUS(CheckAbsolute(text));
    if (text.size() <= kMaxRunPath) return OkStatus();
    return InvalidArgument("longer than " + std::to_string(kMaxRunPath) +
                           " bytes: a socket's path would not fit");
  });
  out.run = run;
  root.Bytes("memory_limit", out.memory_limit_bytes);
  if (out.memory_limit_bytes < kMinMemoryBytes) {
    root.Reject("memory_limit", "must be at least " + FormatByteSize(kMinMemoryBytes));
  }
  root.CheckedText("name", out.name, [](const std::string& text) {
    return text.size() <= kMaxNameBytes ? OkStatus() : InvalidArgument("longer than a host name");
  });
  root.Scalar("log_level", [&out](const std::string& text) -> Status {
    out.log_level = TRY(ParseLogLevel(text));
    return OkStatus();
  });
  root.Texts("egress_allow", out.egress_allow);
  for (const std::string& network : out.egress_allow) {
    const Status status = CheckCidr(network);
    if (!status.ok()) root.Reject("egress_allow", status.message());
  }
  root.TextMap("labels", out.labels);
}

}  // namespace

Result<SpaceAmount> SpaceAmount::Parse(std::string_view text) {
  if (text.ends_with('%')) {
    double percent = 0;
    const char* end = text.data() + text.size() - 1;
    const auto parsed = std::from_chars(text.data(), end, percent);
    if (parsed.ec != std::errc() || parsed.ptr != end || !(percent >= 0 && percent <= 100)) {
      return InvalidArgument("a percentage goes from 0% to 100%");
    }
    return Percent(percent);
  }
  return SpaceAmount{std::nullopt, TRY(ParseByteSize(text))};
}

uint64_t SpaceAmount::Of(uint64_t file_system_bytes) const {
  if (!percent) return bytes;
  return static_cast<uint64_t>(static_cast<double>(file_system_bytes) * *percent / 100);
}

Result<NodeConfig> ParseNodeConfig(std::string_view text, const std::string& name,
                                   const std::vector<std::string>& sets) {
  const TomlDocument document = TRY(TomlDocument::Parse(text, name, sets));
  TomlSection root = document.Root();
  NodeConfig config;
  ReadTop(root, config);
  ReadContainerd(root.Table("containerd"), config.containerd);
  ReadMirror(root.Table("mirror"), config.mirror);
  ReadProxy(root.Table("proxy"), config.proxy);
  root.Table("status").CheckedText("listen", config.status_listen, CheckListen);
  ReadPeer(root.Table("peer"), config.peer);
  ReadManager(root.Table("manager"), config.manager);
  TomlSection store = root.Table("store");
  ReadSpace(store, "quota", config.store.quota);
  ReadSpace(store, "min_free", config.store.min_free);
  ReadInodes(store, "min_free_inodes", config.store.min_free_inodes);
  ReadLimits(root.Table("limits"), config.limits);
  TomlSection registries = root.Table("registry");
  for (auto& [host, section] : registries.Named()) {
    const auto [table, is_new] = config.registries.try_emplace(oci::NormalizeDomain(host));
    if (!is_new) {
      registries.Reject(host, "is " + table->first +
                                  " under another name, which has a table already (keep one: "
                                  "docker.io, index.docker.io and registry-1.docker.io are one "
                                  "registry)");
    }
    ReadRegistry(section, table->second);
  }
  TRY_STATUS(document.Finish());
  return config;
}

Result<NodeConfig> LoadNodeConfig(const std::string& file, const std::vector<std::string>& sets) {
  std::string path = file;
  if (path.empty()) {
    std::error_code error;
    if (!std::filesystem::exists(kDefaultNodeConfigFile, error)) {
      return ParseNodeConfig("", "defaults", sets);
    }
    path = kDefaultNodeConfigFile;
  }
  Result<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (!text.ok()) {
    return InvalidArgument("read the config: " + text.status().message() + " (check --config)");
  }
  return ParseNodeConfig(*text, path, sets);
}

}  // namespace hearth::config
