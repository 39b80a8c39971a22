#include "plugin/installer.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "plugin/containerd_config.h"

namespace hearth::plugin {

namespace {

constexpr int64_t kOldestFileVersion = 2;
constexpr int64_t kFileVersionOf2 = 3;
constexpr const char* kWritten =
    "# Written by \"hearth install\"; \"hearth uninstall\" takes it back.\n";

// What the plan is made from.
struct Main {
  std::optional<std::string> text;
  int64_t version = kFileVersionOf2;
  std::string effective;  // the dump, else the text
};

bool Is2(const InstallOptions& options) { return options.containerd_version.starts_with("2."); }

// What is wrong with the version of containerd itself.
Status CheckVersion(const InstallOptions& options) {
  for (const char* known : {"1.6.", "1.7.", "2."}) {
    if (options.containerd_version.starts_with(known)) return OkStatus();
  }
  return Unimplemented("containerd " + options.containerd_version +
                       ": 1.6, 1.7 and 2.x can be configured (upgrade it, or write its "
                       "configuration by hand)");
}

Result<Main> ReadMain(const InstallOptions& options, const ReadText& read) {
  Main main;
  main.text = TRY(read(kContainerdConfigFile));
  const std::string text = main.text.value_or("");
  const auto keys = TomlKeys(text, {});
  if (!keys.ok()) return keys.status().Annotate(kContainerdConfigFile);
  const auto version = TRY(TomlInteger(text, {"version"}));
  if (!keys->empty() && version.value_or(0) < kOldestFileVersion) {
    return FailedPrecondition(
        std::string(kContainerdConfigFile) + " is of version " +
        std::to_string(version.value_or(1)) +
        ", whose plugin names disable the wrong things (bring it to version " +
        (Is2(options) ? "3 with \"containerd config migrate\"" : "2") + " first)");
  }
  main.version = version.value_or(Is2(options) ? kFileVersionOf2 : kOldestFileVersion);
  main.effective = options.effective_config.value_or(text);
  return main;
}

// `registry.mirrors` and `registry.configs.*.tls` exclude the hosts.toml that we need.
Status CheckRegistry(const Main& main) {
  for (const char* plugin : {kCriImagesPlugin, kCriPlugin}) {
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

Status Taken(const std::string& what, const std::string& value, const std::string& instead) {
  return FailedPrecondition("containerd's " + what + " is " + value + ", which " + instead +
                            " would replace (take it out of containerd's configuration first, or "
                            "install with a lower --level)");
}

// Choices of the user's own that ours would silently replace.
Status CheckChoices(const InstallOptions& options, const Main& main) {
  if (options.level < InstallLevel::kSnapshotter) return OkStatus();
  const TomlPath snapshotters[] = {{"plugins", kCriImagesPlugin, "snapshotter"},
                                   {"plugins", kCriPlugin, "containerd", "snapshotter"}};
  for (const TomlPath& path : snapshotters) {
    const std::string value = TRY(TomlText(main.effective, path)).value_or("");
    if (value.empty() || value == "overlayfs" || value == "hearth") continue;
    return Taken(TomlPathText(path), "\"" + value + "\"", "snapshotter \"hearth\"");
  }
  const TomlPath unpack = {"plugins", kTransferPlugin, "unpack_config"};
  for (const std::string& value : TRY(TomlTableTexts(main.effective, unpack, "snapshotter"))) {
    if (value.empty() || value == "overlayfs" || value == "hearth") continue;
    return Taken(TomlPathText(unpack), "for snapshotter \"" + value + "\"", "hearth's entry");
  }
  if (options.level < InstallLevel::kContent) return OkStatus();
  for (const std::string& id : TRY(TomlKeys(main.effective, {"proxy_plugins"}))) {
    const TomlPath type = {"proxy_plugins", id, "type"};
    const std::string value = TRY(TomlText(main.effective, type)).value_or("");
    const bool content = value == "content" || value == "io.containerd.content.v1";
    if (content && id != "hearth-content") {
      return Taken("content store", "[proxy_plugins." + id + "]", "hearth-content");
    }
  }
  for (const std::string& differ :
       TRY(TomlTexts(main.effective, {"plugins", kDiffServicePlugin, "default"}))) {
    if (differ == "walking" || differ == "hearth-diff") continue;
    return Taken("differ", "\"" + differ + "\"", "\"hearth-diff\"");
  }
  return OkStatus();
}

// What CRI has now, "" = nothing.
Result<std::string> ConfigPath(const Main& main) {
  for (const char* plugin : {kCriImagesPlugin, kCriPlugin}) {
    const auto path = TRY(TomlText(main.effective, {"plugins", plugin, "registry", "config_path"}));
    if (path && !path->empty()) return *path;
  }
  return std::string();
}

std::string AbsoluteImport(const std::string& pattern) {
  return pattern.starts_with('/') ? pattern : "/etc/containerd/" + pattern;
}

bool Imported(const std::vector<std::string>& imports) {
  return std::any_of(imports.begin(), imports.end(), [](const std::string& pattern) {
    return fnmatch(AbsoluteImport(pattern).c_str(), kDropInFile, FNM_PATHNAME) == 0;
  });
}

// The file whose table of `plugin` containerd 1.x takes: it replaces the others' wholly.
Result<std::string> OwnerOf(const std::string& plugin, const Main& main, const ReadText& read) {
  std::vector<std::string> owners;
  for (const std::string& import : TRY(TomlList(main.effective, "imports"))) {
    const std::string path = AbsoluteImport(import);
    if (path == kContainerdConfigFile || path == kDropInFile) continue;
    const auto text = TRY(read(path));
    if (text && TRY(TomlHas(*text, {"plugins", plugin}).Annotate(path))) owners.push_back(path);
  }
  if (owners.size() > 1) {
    return FailedPrecondition("both " + owners[0] + " and " + owners[1] +
                              " have a table [plugins.\"" + plugin +
                              "\"], of which containerd takes one (leave it in one file)");
  }
  return owners.empty() ? std::string(kContainerdConfigFile) : owners[0];
}

class Planner {
 public:
  Planner(const InstallOptions& options, const ReadText& read) : options_(options), read_(read) {}

  Result<std::vector<FileEdit>> Plan() {
    main_ = TRY(ReadMain(options_, read_));
    TRY_STATUS(CheckRegistry(main_));
    TRY_STATUS(CheckChoices(options_, main_));
    const std::string config_path = TRY(ConfigPath(main_));
    ContainerdSetup setup{.version = options_.containerd_version,
                          .level = options_.level,
                          .socket = options_.socket,
                          .snapshots_root = options_.snapshots_root,
                          .hosts_directory = config_path.substr(0, config_path.find(':')),
                          .keep_overlayfs = options_.keep_overlayfs,
                          .file_version = main_.version};
    const bool one_directory =
        !config_path.empty() && (!setup.Is2() || config_path.find(':') == std::string::npos);
    // 2.x: what the drop-in says stays, whoever asks again.
    setup.set_hosts_directory =
        !one_directory || (setup.Is2() && options_.level >= InstallLevel::kSnapshotter);
    if (setup.hosts_directory.empty()) setup.hosts_directory = kDefaultHostsDirectory;
    TRY_STATUS(PlanNode());
    TRY_STATUS(PlanContainerd(setup));
    TRY_STATUS(Replace(setup.hosts_directory + "/_default/hosts.toml", HostsToml(),
                       "registries are asked through the node's mirror"));
    TRY_STATUS(PlanNerdctl(setup));
    if (!options_.unit.empty()) {
      TRY_STATUS(Replace(kUnitFile, options_.unit, "systemd starts the node before containerd"));
    }
    return std::move(edits_);
  }

 private:
  Status Replace(const std::string& path, std::string after, std::string why) {
    edits_.push_back({path, TRY(read_(path)), std::move(after), std::move(why)});
    return OkStatus();
  }

  Status PlanNode() {
    if (options_.node_config.empty()) return OkStatus();
    const auto before = TRY(read_(options_.node_config_file));
    edits_.push_back({options_.node_config_file, before, before.value_or(options_.node_config),
                      "the node's configuration, with every default"});
    return OkStatus();
  }

  // The drop-in, the import of it, and what 1.x needs in the user's own files.
  Status PlanContainerd(const ContainerdSetup& setup) {
    std::map<std::string, FileEdit> own;
    for (const PluginSetting& setting : SettingsInPlace(setup)) {
      const std::string path = TRY(OwnerOf(setting.plugin, main_, read_));
      FileEdit& edit = TRY(EditOf(path, own));
      TomlChange change{setting.path, setting.value, TRY(TomlValueText(edit.after, setting.path))};
      if (change.before == change.value) continue;
      edit.after = TRY(SetTomlValue(edit.after, setting.path, setting.value).Annotate(path));
      edit.changes.push_back(std::move(change));
    }
    const std::string drop_in = DropInText(setup);
    if (!drop_in.empty()) {
      TRY_STATUS(Replace(kDropInFile, drop_in, "what containerd asks of the node"));
      FileEdit& edit = TRY(EditOf(kContainerdConfigFile, own));
      if (!Imported(TRY(TomlList(edit.after, "imports"))) &&
          !Imported(TRY(TomlList(main_.effective, "imports")))) {
        edit.after = TRY(AddToTomlList(edit.after, "imports", kDropInFile));
      }
    }
    for (auto& [path, edit] : own) edits_.push_back(std::move(edit));
    if (setup.version.starts_with("1.6.") && setup.level >= InstallLevel::kSnapshotter) {
      const std::string root = TRY(TomlText(main_.effective, {"root"})).value_or("");
      return Replace(
          (root.empty() ? "/var/lib/containerd" : root) +
              "/io.containerd.snapshotter.v1.hearth/README",
          std::string(kWritten) + "# Hearth's snapshots are in " + options_.snapshots_root + ".\n",
          "CRI of containerd 1.6 measures the file system of this directory");
    }
    return OkStatus();
  }

  // The edit of a user's own file, begun if need be.
  Result<std::reference_wrapper<FileEdit>> EditOf(const std::string& path,
                                                  std::map<std::string, FileEdit>& edits) {
    const auto found = edits.find(path);
    if (found != edits.end()) return std::ref(found->second);
    FileEdit edit{path, TRY(read_(path)), "", "the settings that containerd needs here"};
    edit.after = edit.before.value_or("");
    if (path == kContainerdConfigFile && TRY(TomlKeys(edit.after, {})).empty()) {
      edit.after = "version = " + std::to_string(main_.version) + "\n" + edit.after;
    }
    return std::ref(edits[path] = std::move(edit));
  }

  std::string HostsToml() const {
    return std::string(kWritten) +
           "# Every registry is asked through the node first; where it does not answer, directly.\n"
           "[host.\"http://" +
           options_.mirror + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
  }

  Status PlanNerdctl(const ContainerdSetup& setup) {
    const auto before = TRY(read_(kNerdctlFile));
    if (!before && !options_.has_nerdctl) return OkStatus();
    FileEdit edit{kNerdctlFile, before, before.value_or(kWritten), "nerdctl's defaults"};
    std::vector<std::pair<std::string, std::string>> wanted;
    if (setup.level >= InstallLevel::kSnapshotter) wanted.emplace_back("snapshotter", "\"hearth\"");
    if (setup.hosts_directory != kDefaultHostsDirectory) {
      wanted.emplace_back("hosts_dir", "[" + TomlQuote(setup.hosts_directory) + "]");
    }
    for (const auto& [key, value] : wanted) {
      const auto now = TRY(TomlValueText(edit.after, {key}).Annotate(kNerdctlFile));
      if (now == value) continue;
      edit.after = TRY(SetTomlValue(edit.after, {key}, value).Annotate(kNerdctlFile));
      edit.changes.push_back({{key}, value, now});
    }
    if (!wanted.empty()) edits_.push_back(std::move(edit));
    return OkStatus();
  }

  const InstallOptions& options_;
  const ReadText& read_;
  Main main_;
  std::vector<FileEdit> edits_;
};

}  // namespace

Result<InstallLevel> ParseInstallLevel(std::string_view word) {
  for (const InstallLevel one :
       {InstallLevel::kMirror, InstallLevel::kSnapshotter, InstallLevel::kContent}) {
    if (word == InstallLevelName(one)) return one;
  }
  return InvalidArgument("\"" + std::string(word) +
                         "\" is no level (mirror, snapshotter and content are)");
}

std::string InstallLevelName(InstallLevel level) {
  static constexpr std::array kNames = {"mirror", "snapshotter", "content"};
  return kNames[static_cast<size_t>(level)];
}

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
  TRY_STATUS(CheckVersion(options));
  if (options.mirror.ends_with(":0")) {
    return FailedPrecondition(
        "mirror.listen has port 0, which hosts.toml cannot name (give it a port in " +
        options.node_config_file + ")");
  }
  return Planner(options, read).Plan();
}

}  // namespace hearth::plugin
