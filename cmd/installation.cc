#include "cmd/installation.h"

#include <filesystem>

namespace hearth::cmd {

Result<config::NodeConfig> NodeConfigBelow(const Common& common, const std::string& prefix) {
  const std::string file = prefix + config::kDefaultNodeConfigFile;
  if (!common.config_file.empty() || prefix.empty()) return LoadConfig(common);
  if (!std::filesystem::exists(file)) return config::ParseNodeConfig("", "defaults", common.sets);
  return config::LoadNodeConfig(file, common.sets);
}

int EndInstallation(const std::string& what, const Result<int>& result) {
  if (result.ok()) return *result;
  const int code = Fail(what, result.status());
  return code == kNotThere ? static_cast<int>(kFailed) : code;
}

}  // namespace hearth::cmd
