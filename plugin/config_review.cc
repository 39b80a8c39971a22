#include "plugin/config_review.h"

#include <algorithm>
#include <utility>

#include "plugin/containerd_config.h"
#include "plugin/toml_edit.h"

namespace hearth::plugin {

namespace {

constexpr const char* kInstall = "run: hearth install, then restart containerd";
constexpr const char* kProxies = "proxy_plugins";

ContainerdSetup SetupOf(const std::string& version) {
  ContainerdSetup setup;
  setup.version = version;
  return setup;
}

// Reads one configuration and collects what is wrong in it.
class Review {
 public:
  Review(const std::string& dump, const ConfigExpectation& expected)
      : dump_(dump), expected_(expected), setup_(SetupOf(expected.version)) {}

  Result<std::vector<ConfigProblem>> Run() {
    disabled_ = TRY(TomlList(dump_, "disabled_plugins"));
    if (expected_.level >= InstallLevel::kSnapshotter) {
      TRY_STATUS(Proxy("hearth"));
      // 1.6 knows no exports.
      if (problems_.empty() && setup_.HasDiffProxy()) TRY_STATUS(Exports());
      TRY_STATUS(CriSnapshotter());
      if (setup_.Is2()) TRY_STATUS(UnpackEntries());
    }
    if (expected_.level == InstallLevel::kContent) {
      if (!IsDisabled(kContentStorePlugin)) {
        Grave("containerd's own content store is not disabled",
              "containerd takes exactly one, so with hearth-content it does not start well",
              kInstall);
      }
      TRY_STATUS(Proxy("hearth-content"));
      if (setup_.HasDiffProxy()) {
        TRY_STATUS(Proxy("hearth-diff"));
        TRY_STATUS(Differs());
      }
    }
    return std::move(problems_);
  }

 private:
  bool IsDisabled(const char* plugin) const {
    return std::find(disabled_.begin(), disabled_.end(), plugin) != disabled_.end();
  }
  void Grave(std::string what, std::string why, std::string advice) {
    problems_.push_back({true, std::move(what), std::move(why), std::move(advice)});
  }
  void Slight(std::string what, std::string why, std::string advice) {
    problems_.push_back({false, std::move(what), std::move(why), std::move(advice)});
  }

  Status Proxy(const std::string& id) {
    const auto address = TRY(TomlText(dump_, {kProxies, id, "address"}));
    const std::string table = "[proxy_plugins." + id + "]";
    if (!address) {
      Grave("there is no " + table, "containerd does not know the node by that name", kInstall);
    } else if (*address != expected_.socket) {
      Grave(table + " goes to " + *address + ", the node is at " + expected_.socket,
            "containerd asks a socket at which this node does not answer", kInstall);
    }
    return OkStatus();
  }

  Status Exports() {
    const TomlPath exports = {kProxies, "hearth", "exports"};
    const auto root = TRY(TomlText(dump_, {exports[0], exports[1], exports[2], "root"}));
    if (root.value_or("") != expected_.snapshots_root) {
      Slight("[proxy_plugins.hearth.exports] root is " + (root ? *root : "not set") + ", not " +
                 expected_.snapshots_root,
             "kubelet measures the wrong file system when it decides what images to delete",
             kInstall);
    }
    const auto labels = TRY(TomlText(
        dump_, {exports[0], exports[1], exports[2], "enable_remote_snapshot_annotations"}));
    if (setup_.Is2() && labels.value_or("") != "true") {
      Slight("[proxy_plugins.hearth.exports] enable_remote_snapshot_annotations is not \"true\"",
             "a pull past the mirror does not say which image a layer is of, so it stays cold",
             kInstall);
    }
    return OkStatus();
  }

  Status CriSnapshotter() {
    if (IsDisabled(kCriImagesPlugin) || IsDisabled(kCriPlugin) ||
        IsDisabled("io.containerd.grpc.v1.cri") || IsDisabled("cri")) {
      return OkStatus();
    }
    const auto name =
        setup_.Is2() ? TRY(TomlText(dump_, {"plugins", kCriImagesPlugin, "snapshotter"}))
                     : TRY(TomlText(dump_, {"plugins", kCriPlugin, "containerd", "snapshotter"}));
    if (name && *name != "hearth") {
      Slight("CRI uses snapshotter " + *name, "kubelet's pulls unpack every layer again", kInstall);
    }
    return OkStatus();
  }

  Status UnpackEntries() {
    const auto names =
        TRY(TomlTableTexts(dump_, {"plugins", kTransferPlugin, "unpack_config"}, "snapshotter"));
    if (std::find(names.begin(), names.end(), "hearth") == names.end()) {
      Grave("no unpack_config of the transfer service names snapshotter hearth",
            "ctr, nerdctl and CRI cannot pull with it (\"no unpack platforms defined\")", kInstall);
    }
    return OkStatus();
  }

  Status Differs() {
    const auto names = TRY(TomlTexts(dump_, {"plugins", kDiffServicePlugin, "default"}));
    if (names.empty() || names.front() != "hearth-diff") {
      Slight("hearth-diff is not the first of the diff service's differs",
             "layers that are unpacked already are unpacked again", kInstall);
    }
    return OkStatus();
  }

  const std::string& dump_;
  const ConfigExpectation& expected_;
  const ContainerdSetup setup_;
  std::vector<std::string> disabled_;
  std::vector<ConfigProblem> problems_;
};

}  // namespace

Result<std::vector<ConfigProblem>> ReviewConfig(const std::string& dump,
                                                const ConfigExpectation& expected) {
  return Review(dump, expected).Run();
}

Result<InstallLevel> LevelOf(const std::string& dump) {
  if (TRY(TomlHas(dump, {kProxies, "hearth-content"}))) return InstallLevel::kContent;
  if (TRY(TomlHas(dump, {kProxies, "hearth"}))) return InstallLevel::kSnapshotter;
  return InstallLevel::kMirror;
}

Result<std::string> HostsDirectories(const std::string& dump) {
  for (const char* plugin : {kCriImagesPlugin, kCriPlugin}) {
    const auto found = TRY(TomlText(dump, {"plugins", plugin, "registry", "config_path"}));
    if (found && !found->empty()) return *found;
  }
  return std::string();
}

}  // namespace hearth::plugin
