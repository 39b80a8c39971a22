#include "plugin/containerd_config.h"

namespace hearth::plugin {

namespace {

constexpr int64_t kFirstWithNewNames = 3;

std::string Proxy(const std::string& id, const std::string& type, const std::string& socket) {
  return "[proxy_plugins." + id + "]\n  type = \"" + type + "\"\n  address = " + TomlQuote(socket) +
         "\n";
}

std::string UnpackEntry(const std::string& snapshotter, const std::string& differ) {
  return "[[plugins.\"" + std::string(kTransferPlugin) +
         "\".unpack_config]]\n  platform = \"linux\"\n  snapshotter = \"" + snapshotter +
         "\"\n  differ = \"" + differ + "\"\n";
}

// CRI's tables of 2.x, under the names of version 3 or the older ones.
std::string CriEntry(const ContainerdSetup& setup, const std::string& snapshotter_table,
                     const std::string& registry_table) {
  std::string text;
  if (setup.level >= InstallLevel::kSnapshotter) {
    text += "[plugins." + snapshotter_table + "]\n  snapshotter = \"hearth\"\n\n";
  }
  return text + "[plugins." + registry_table +
         "]\n  config_path = " + TomlQuote(setup.hosts_directory) + "\n";
}

std::string Proxies(const ContainerdSetup& setup) {
  std::string text;
  const bool content = setup.level == InstallLevel::kContent;
  if (content) {
    text +=
        "# The content store is Hearth's; containerd takes exactly one.\ndisabled_plugins = [\"" +
        std::string(kContentStorePlugin) + "\"]\n\n" +
        Proxy("hearth-content", "content", setup.socket) + "\n";
  }
  text += Proxy("hearth", "snapshot", setup.socket) +
          "\n  [proxy_plugins.hearth.exports]\n    root = " + TomlQuote(setup.snapshots_root) +
          "\n    enable_remote_snapshot_annotations = \"true\"\n";
  if (content && setup.HasDiffProxy()) {
    text += "\n" + Proxy("hearth-diff", "diff", setup.socket);
  }
  return text;
}

std::string PluginTables(const ContainerdSetup& setup) {
  std::string text;
  if (setup.level >= InstallLevel::kSnapshotter) {
    const bool content = setup.level == InstallLevel::kContent;
    if (content) {
      text += "[plugins.\"" + std::string(kDiffServicePlugin) +
              "\"]\n  default = [\"hearth-diff\", \"walking\"]\n\n";
    }
    text += UnpackEntry("hearth", content ? "hearth-diff" : "walking") + "\n";
    if (setup.keep_overlayfs) text += UnpackEntry("overlayfs", "walking") + "\n";
  }
  const std::string images = "\"" + std::string(kCriImagesPlugin) + "\"";
  text += CriEntry(setup, images, images + ".registry");
  if (setup.file_version < kFirstWithNewNames) {
    // Where the main file uses the old names, containerd lets them win over the new ones.
    const std::string old = "\"" + std::string(kCriPlugin) + "\"";
    text += "\n" + CriEntry(setup, old + ".containerd", old + ".registry");
  }
  return text;
}

}  // namespace

bool ContainerdSetup::HasDiffProxy() const {
  return !version.starts_with("1.") || version.starts_with("1.7");
}

std::string DropInText(const ContainerdSetup& setup) {
  const bool proxies = setup.level >= InstallLevel::kSnapshotter;
  const bool tables = setup.Is2() && (proxies || setup.set_hosts_directory);
  if (!proxies && !tables) return "";
  std::string text =
      "# Written by \"hearth install\"; \"hearth uninstall\" takes it back.\n"
      "version = " +
      std::to_string(setup.file_version) + "\n";
  if (proxies) text += "\n" + Proxies(setup);
  if (tables) text += "\n" + PluginTables(setup);
  return text;
}

std::vector<PluginSetting> SettingsInPlace(const ContainerdSetup& setup) {
  std::vector<PluginSetting> settings;
  if (setup.Is2()) return settings;
  const TomlPath cri = {"plugins", kCriPlugin};
  if (setup.set_hosts_directory) {
    settings.push_back({kCriPlugin,
                        {cri[0], cri[1], "registry", "config_path"},
                        TomlQuote(setup.hosts_directory)});
  }
  if (setup.level >= InstallLevel::kSnapshotter) {
    settings.push_back({kCriPlugin, {cri[0], cri[1], "containerd", "snapshotter"}, "\"hearth\""});
  }
  if (setup.level == InstallLevel::kContent && setup.HasDiffProxy()) {
    settings.push_back({kDiffServicePlugin,
                        {cri[0], kDiffServicePlugin, "default"},
                        "[\"hearth-diff\", \"walking\"]"});
  }
  return settings;
}

}  // namespace hearth::plugin
