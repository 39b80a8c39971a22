#include "cmd/live_manager_config.h"

#include <utility>

#include "base/log.h"

namespace hearth::cmd {

LiveManagerConfig::LiveManagerConfig(config::ManagerConfig config)
    : config_(std::make_shared<const config::ManagerConfig>(std::move(config))) {
  SetLogLevel(config_->log_level);
}

std::shared_ptr<const config::ManagerConfig> LiveManagerConfig::Get() const {
  MutexLock lock(mutex_);
  return config_;
}

uint64_t LiveManagerConfig::OriginRate(const std::string& cluster) const {
  const auto config = Get();
  const auto found = config->clusters.find(cluster);
  return found == config->clusters.end() ? 0 : found->second.origin;
}

Status LiveManagerConfig::Reload(const Common& common) {
  auto fresh = TRY(config::LoadManagerConfig(common.config_file, common.sets));
  const auto before = Get();
  for (const std::string& key : config::RestartKeys(*before, fresh)) {
    LOG_WARNING("changed, in force after a restart", {{"key", key}});
  }
  SetLogLevel(fresh.log_level);
  MutexLock lock(mutex_);
  config_ = std::make_shared<const config::ManagerConfig>(std::move(fresh));
  return OkStatus();
}

}  // namespace hearth::cmd
