// ContainerdConfig: what each version of containerd has to be told, and where.
//
// Pure functions. containerd 2.x merges the plugin tables of the files that it imports, so all goes
// to a drop-in. 1.x replaces a plugin's whole table by that of an imported file, so settings of CRI
// and of the diff service are written into the user's own file.
#pragma once

#include <string>
#include <vector>

#include "plugin/install_level.h"
#include "plugin/toml_edit.h"

namespace hearth::plugin {

inline constexpr const char* kCriImagesPlugin = "io.containerd.cri.v1.images";  // from 2.0 on
inline constexpr const char* kCriPlugin = "io.containerd.grpc.v1.cri";          // before
inline constexpr const char* kDiffServicePlugin = "io.containerd.service.v1.diff-service";
inline constexpr const char* kTransferPlugin = "io.containerd.transfer.v1.local";
inline constexpr const char* kContentStorePlugin = "io.containerd.content.v1.content";

struct ContainerdSetup {
  std::string version;  // "1.6.20"
  InstallLevel level = InstallLevel::kContent;
  std::string socket;
  std::string snapshots_root;
  std::string hosts_directory;
  bool set_hosts_directory = true;  // false = containerd has it already
  bool keep_overlayfs = false;
  int64_t file_version = 3;  // of the user's main file

  bool Is2() const { return version.starts_with("2."); }
  // The differ of other processes: from 1.7 on.
  bool HasDiffProxy() const;
};

// The drop-in file; "" where it would say nothing.
std::string DropInText(const ContainerdSetup& setup);

struct PluginSetting {
  std::string plugin;  // whose table it is
  TomlPath path;
  std::string value;  // TOML
};
// What 1.x needs in the user's own file; empty for 2.x.
std::vector<PluginSetting> SettingsInPlace(const ContainerdSetup& setup);

}  // namespace hearth::plugin
