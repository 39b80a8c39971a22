#include <iostream>

#include "cmd/commands.h"

namespace hearth::cmd {

int Fail(const std::string& what, const Status& status) {
  std::cerr << "hearth: " << what << ": " << status.message() << "\n";
  if (status.code() == StatusCode::kInvalidArgument) return kWrongUse;
  if (status.code() == StatusCode::kNotFound) return kNotThere;
  return kFailed;
}

Result<config::NodeConfig> LoadConfig(const Common& common) {
  return config::LoadNodeConfig(common.config_file, common.sets);
}

}  // namespace hearth::cmd
