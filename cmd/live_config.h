// LiveConfig: the config in force, and its replacement while the node runs. Any thread.
#pragma once

#include <functional>
#include <memory>

#include "base/status.h"
#include "base/thread.h"
#include "cmd/commands.h"
#include "config/node_config.h"

namespace hearth::cmd {

class LiveConfig {
 public:
  explicit LiveConfig(config::NodeConfig config);
  // Called with each new config, from Reload(). Set it before that.
  std::function<void(const config::NodeConfig&)> on_reload;

  std::shared_ptr<const config::NodeConfig> Get() const EXCLUDES(mutex_);
  // Reads the config again as `common` names it. What can be taken over is in force when this
  // returns (log level, registry tables); for the rest the log says which keys need a restart.
  // An error leaves everything as it was, and says what is wrong with the file.
  Status Reload(const Common& common) EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const config::NodeConfig> config_ GUARDED_BY(mutex_);
};

}  // namespace hearth::cmd
