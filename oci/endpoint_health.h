// EndpointHealth: which endpoints gave no answer at all a moment ago.
//
// A dead endpoint would cost each request a connect timeout; the registry is asked before it for a
// while. Any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/thread.h"

namespace hearth::oci {

class EndpointHealth {
 public:
  struct Options {
    std::chrono::seconds pause{30};
    size_t max_endpoints = 256;  // beyond it all count as well
    const Clock& clock = RealClock();
  };
  explicit EndpointHealth(Options options) : options_(options) {}

  // How a request to `base_url` went: `answered` with whatever HTTP status, or not.
  void Note(const std::string& base_url, bool answered);
  bool IsWell(const std::string& base_url) const;

 private:
  const Options options_;
  mutable Mutex mutex_;
  std::map<std::string, SteadyTime> silent_since_ GUARDED_BY(mutex_);
};

}  // namespace hearth::oci
