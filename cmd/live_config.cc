#include "cmd/live_config.h"

#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "config/changed_keys.h"

namespace hearth::cmd {

namespace {

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

LiveConfig::LiveConfig(config::NodeConfig config)
    : config_(std::make_shared<const config::NodeConfig>(std::move(config))) {
  SetLogLevel(Get()->log_level);
}

std::shared_ptr<const config::NodeConfig> LiveConfig::Get() const {
  MutexLock lock(mutex_);
  return config_;
}

Status LiveConfig::Reload(const Common& common) {
  auto fresh = TRY(LoadConfig(common));
  const auto before = Get();
  if (fresh.name.empty()) fresh.name = before->name;  // the host name stands in there
  const auto changed = config::ChangedKeys::Of(*before, fresh);
  // Keys that need a restart keep their old value, so that the next reload names them again.
  auto next = std::make_shared<config::NodeConfig>(*before);
  next->log_level = fresh.log_level;
  next->registries = std::move(fresh.registries);
  next->store = fresh.store;
  next->limits = {.upload = fresh.limits.upload,
                  .uploads = before->limits.uploads,
                  .download = fresh.limits.download,
                  .origin = fresh.limits.origin};
  {
    MutexLock lock(mutex_);
    config_ = next;
  }
  SetLogLevel(next->log_level);
  if (on_reload) on_reload(*next);
  LOG_INFO("config reloaded", {{"changed", Joined(changed.live)}});
  if (!changed.restart.empty()) {
    LOG_WARNING("some changed keys need a restart", {{"keys", Joined(changed.restart)}});
  }
  return OkStatus();
}

}  // namespace hearth::cmd
