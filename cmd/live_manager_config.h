// LiveManagerConfig: the manager's config in force, for what a reload takes over. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread.h"
#include "cmd/commands.h"
#include "config/manager_config.h"

namespace hearth::cmd {

class LiveManagerConfig {
 public:
  explicit LiveManagerConfig(config::ManagerConfig config);

  std::shared_ptr<const config::ManagerConfig> Get() const EXCLUDES(mutex_);
  // Bytes per second; 0 = no limit.
  uint64_t OriginRate(const std::string& cluster) const;
  // Reads it again; what needs a restart is named in the log.
  Status Reload(const Common& common) EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const config::ManagerConfig> config_ GUARDED_BY(mutex_);
};

}  // namespace hearth::cmd
