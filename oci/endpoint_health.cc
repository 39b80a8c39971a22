#include "oci/endpoint_health.h"

namespace hearth::oci {

void EndpointHealth::Note(const std::string& base_url, bool answered) {
  MutexLock lock(mutex_);
  if (answered) {
    silent_since_.erase(base_url);
  } else if (silent_since_.size() < options_.max_endpoints || silent_since_.contains(base_url)) {
    silent_since_[base_url] = options_.clock.SteadyNow();
  }
}

bool EndpointHealth::IsWell(const std::string& base_url) const {
  MutexLock lock(mutex_);
  const auto found = silent_since_.find(base_url);
  return found == silent_since_.end() ||
         options_.clock.SteadyNow() - found->second >= options_.pause;
}

}  // namespace hearth::oci
