// PlanInstall: which files have to change, and how, so that containerd uses a node as its content
// store, snapshotter and registry mirror.
//
// Pure: reads through a function, writes nothing. install_record.h carries a plan out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/install_level.h"
#include "plugin/toml_edit.h"

namespace hearth::plugin {

inline constexpr const char* kContainerdConfigFile = "/etc/containerd/config.toml";
inline constexpr const char* kDropInFile = "/etc/containerd/conf.d/hearth.toml";
inline constexpr const char* kDefaultHostsDirectory = "/etc/containerd/certs.d";
inline constexpr const char* kNerdctlFile = "/etc/nerdctl/nerdctl.toml";
inline constexpr const char* kUnitFile = "/etc/systemd/system/hearth.service";

struct InstallOptions {
  std::string containerd_version;  // "2.1.9"
  InstallLevel level = InstallLevel::kContent;
  std::string socket = "/run/hearth/hearth.sock";            // of the node, for containerd
  std::string snapshots_root = "/var/lib/hearth/snapshots";  // image file system for CRI
  std::string mirror = "127.0.0.1:7733";
  bool keep_overlayfs = false;  // clients may still ask for containerd's own snapshotter
  bool has_nerdctl = false;     // it is told where its file is there, too
  // `containerd config dump` as it is now; nullopt where it cannot be asked.
  std::optional<std::string> effective_config;
  std::string node_config_file = "/etc/hearth/node.toml";
  std::string node_config;  // written where there is no file yet; "" = never
  std::string unit;         // text of the systemd unit; "" = no systemd here
};

// One value that an edit of a user's own TOML file changes.
struct TomlChange {
  TomlPath path;
  std::string value;                  // TOML, as written
  std::optional<std::string> before;  // likewise; nullopt = there was none
};

struct FileEdit {
  std::string path;
  std::optional<std::string> before;  // nullopt = there is no file
  std::string after;
  std::string why;
  std::vector<TomlChange> changes{};  // so that they can be taken back from a file changed since

  bool Changes() const { return before != after; }
};

// Text of a file, nullopt where there is none.
using ReadText = std::function<Result<std::optional<std::string>>(const std::string& path)>;

// All files that matter, changed or not. kUnimplemented: a containerd that we cannot configure;
// kFailedPrecondition: its configuration rules ours out, or has settings that ours would replace,
// with what to do.
Result<std::vector<FileEdit>> PlanInstall(const InstallOptions& options, const ReadText& read);

// "2.1.9" out of what `containerd --version` prints; kInvalidArgument for anything else.
Result<std::string> ParseContainerdVersion(const std::string& printed);

}  // namespace hearth::plugin
