#include "plugin/installer.h"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "plugin/toml_edit.h"

namespace hearth::plugin {

namespace {

constexpr const char* kCriImages = "io.containerd.cri.v1.images";  // from version 3 on
constexpr const char* kCriOld = "io.containerd.grpc.v1.cri";
constexpr int64_t kOldestVersion = 2;
constexpr int64_t kFirstWithNewNames = 3;

// What the plan is made from.
struct Main {
  std::optional<std::string> text;
  int64_t version = kFirstWithNewNames;
  std::string effective;  // the dump, else the text
};

Result<Main> ReadMain(const InstallOptions& options, const ReadText& read) {
  Main main;
  main.text = TRY(read(kContainerdConfigFile));
  const std::string text = main.text.value_or("");
  const auto keys = TomlKeys(text, {});
  if (!keys.ok()) return keys.status().Annotate(kContainerdConfigFile);
  const auto version = TRY(TomlInteger(text, {"version"}));
  if (!keys->empty() && version.value_or(0) < kOldestVersion) {
    return FailedPrecondition(
        std::string(kContainerdConfigFile) + " is of version " +
        std::to_string(version.value_or(1)) +
        ", whose plugin names disable the wrong things (bring it to version 3 with \"containerd "
        "config migrate\" first)");
  }
  main.version = version.value_or(kFirstWithNewNames);
  main.effective = options.effective_config.value_or(text);
  return main;
}

// `registry.mirrors` and `registry.configs.*.tls` exclude the hosts.toml that we need.
Status CheckRegistry(const Main& main) {
  for (const char* plugin : {kCriImages, kCriOld}) {
    const TomlPath registry = {"plugins", plugin, "registry"};
    TomlPath mirrors = registry;
    mirrors.push_back("mirrors");
    const std::string table = "[plugins.\"" + std::string(plugin) + "\".registry";
    const std::string advice = " excludes hosts.toml (move it to files under " +
                               std::string(kDefaultHostsDirectory) + ", then install again)";
    if (TRY(TomlHas(main.effective, mirrors))) {
      return FailedPrecondition("containerd's " + table + ".mirrors]" + advice);
    }
    TomlPath configs = registry;
    configs.push_back("configs");
    for (const std::string& host : TRY(TomlKeys(main.effective, configs))) {
      TomlPath tls = configs;
      tls.push_back(host);
      tls.push_back("tls");
      if (TRY(TomlHas(main.effective, tls))) {
        return FailedPrecondition("containerd's " + table + ".configs.\"" + host + "\".tls]" +
                                  advice);
      }
    }
  }
  return OkStatus();
}

// One directory: containerd's transfer service takes the setting as a single path.
Result<std::string> HostsDirectory(const Main& main) {
  for (const char* plugin : {kCriImages, kCriOld}) {
    const auto path = TRY(TomlText(main.effective, {"plugins", plugin, "registry", "config_path"}));
    if (path && !path->empty()) return path->substr(0, path->find(':'));
  }
  return std::string(kDefaultHostsDirectory);
}

std::string Proxy(const std::string& id, const std::string& type, const std::string& socket) {
  return "[proxy_plugins." + id + "]\n  type = \"" + type + "\"\n  address = " + TomlQuote(socket) +
         "\n";
}

std::string UnpackEntry(const std::string& snapshotter, const std::string& differ) {
  return "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n  platform = \"linux\"\n"
         "  snapshotter = \"" +
         snapshotter + "\"\n  differ = \"" + differ + "\"\n";
}

std::string CriEntry(const std::string& snapshotter_table, const std::string& registry_table,
                     const std::string& hosts_directory) {
  return "[plugins." + snapshotter_table + "]\n  snapshotter = \"hearth\"\n\n[plugins." +
         registry_table + "]\n  config_path = " + TomlQuote(hosts_directory) + "\n";
}

std::string DropIn(const InstallOptions& options, const Main& main,
                   const std::string& hosts_directory) {
  const std::string images = "\"" + std::string(kCriImages) + "\"";
  const std::string old = "\"" + std::string(kCriOld) + "\"";
  std::string text =
      "# Written by \"hearth install\"; \"hearth uninstall\" takes it back.\n"
      "version = " +
      std::to_string(main.version) +
      "\n\n# The content store is Hearth's; containerd takes exactly one.\n"
      "disabled_plugins = [\"io.containerd.content.v1.content\"]\n\n" +
      Proxy("hearth-content", "content", options.socket) + "\n" +
      Proxy("hearth", "snapshot", options.socket) +
      "\n  [proxy_plugins.hearth.exports]\n    root = " + TomlQuote(options.snapshots_root) +
      "\n    enable_remote_snapshot_annotations = \"true\"\n\n" +
      Proxy("hearth-diff", "diff", options.socket) +
      "\n[plugins.\"io.containerd.service.v1.diff-service\"]\n"
      "  default = [\"hearth-diff\", \"walking\"]\n\n" +
      UnpackEntry("hearth", "hearth-diff") + "\n";
  if (options.keep_overlayfs) text += UnpackEntry("overlayfs", "walking") + "\n";
  text += CriEntry(images, images + ".registry", hosts_directory);
  if (main.version < kFirstWithNewNames) {
    // Where the main file uses the old names, containerd lets them win over the new ones.
    text += "\n" + CriEntry(old + ".containerd", old + ".registry", hosts_directory);
  }
  return text;
}

bool Imported(const std::vector<std::string>& imports) {
  return std::any_of(imports.begin(), imports.end(), [](const std::string& pattern) {
    const std::string path = pattern.starts_with('/') ? pattern : "/etc/containerd/" + pattern;
    return fnmatch(path.c_str(), kDropInFile, FNM_PATHNAME) == 0;
  });
}

Result<FileEdit> MainEdit(const Main& main) {
  FileEdit edit{kContainerdConfigFile, main.text, main.text.value_or(""), "imports the drop-in"};
  if (Imported(TRY(TomlList(edit.after, "imports"))) ||
      Imported(TRY(TomlList(main.effective, "imports")))) {
    return edit;
  }
  if (TRY(TomlKeys(edit.after, {})).empty()) {
    edit.after = "version = " + std::to_string(main.version) + "\n" + edit.after;
  }
  edit.after = TRY(AddToTomlList(edit.after, "imports", kDropInFile));
  return edit;
}

std::string HostsToml(const std::string& mirror) {
  return "# Written by \"hearth install\"; \"hearth uninstall\" takes it back.\n"
         "# Every registry is asked through the node first; where it does not answer, directly.\n"
         "[host.\"http://" +
         mirror + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
}

}  // namespace

Result<std::string> ParseContainerdVersion(const std::string& printed) {
  // "containerd github.com/containerd/containerd/v2 2.1.9+unknown abc", with or without a "v".
  size_t start = 0;
  while (start < printed.size()) {
    size_t end = printed.find_first_of(" \t\n", start);
    if (end == std::string::npos) end = printed.size();
    std::string word = printed.substr(start, end - start);
    if (word.starts_with("v")) word.erase(0, 1);
    word = word.substr(0, word.find_first_of("+~-"));
    const bool number = !word.empty() && word.find_first_not_of("0123456789.") == std::string::npos;
    if (number && std::count(word.begin(), word.end(), '.') >= 1) return word;
    start = end + 1;
  }
  return InvalidArgument("\"" + printed + "\" names no version");
}

Result<std::vector<FileEdit>> PlanInstall(const InstallOptions& options, const ReadText& read) {
  if (!options.containerd_version.starts_with("2.")) {
    return Unimplemented("containerd " + options.containerd_version +
                         ": only containerd 2.x can be configured (upgrade it, or write its "
                         "configuration by hand)");
  }
  if (options.mirror.ends_with(":0")) {
    return FailedPrecondition(
        "mirror.listen has port 0, which hosts.toml cannot name (give it a port in " +
        options.node_config_file + ")");
  }
  const Main main = TRY(ReadMain(options, read));
  TRY_STATUS(CheckRegistry(main));
  const std::string hosts_directory = TRY(HostsDirectory(main));

  std::vector<FileEdit> edits;
  const auto replace = [&](const std::string& path, std::string after, std::string why) -> Status {
    edits.push_back({path, TRY(read(path)), std::move(after), std::move(why)});
    return OkStatus();
  };
  if (!options.node_config.empty()) {
    const auto before = TRY(read(options.node_config_file));
    edits.push_back({options.node_config_file, before, before.value_or(options.node_config),
                     "the node's configuration, with every default"});
  }
  TRY_STATUS(replace(kDropInFile, DropIn(options, main, hosts_directory),
                     "content store, snapshotter and differ are the node's"));
  edits.push_back(TRY(MainEdit(main)));
  TRY_STATUS(replace(hosts_directory + "/_default/hosts.toml", HostsToml(options.mirror),
                     "registries are asked through the node's mirror"));
  if (!options.unit.empty()) {
    TRY_STATUS(replace(kUnitFile, options.unit, "systemd starts the node before containerd"));
  }
  return edits;
}

}  // namespace hearth::plugin
