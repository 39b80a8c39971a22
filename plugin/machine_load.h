// How busy the machine is: what a pull job's checkItems "cpu" and "mem" ask before a node is given
// work. Any thread.
#pragma once

#include <chrono>
#include <stop_token>
#include <string_view>

#include "base/status.h"

namespace hearth::plugin {

// Time of all processors together, in ticks: the first line of /proc/stat.
struct CpuTimes {
  uint64_t busy = 0;
  uint64_t total = 0;
  static Result<CpuTimes> Parse(std::string_view proc_stat);  // kDataLoss
};

// Share of memory that is in use and cannot be given back: of /proc/meminfo. kDataLoss.
Result<double> MemoryInUse(std::string_view proc_meminfo);

inline constexpr double kBusy = 0.8;  // as KubeEdge's checks have it

// kResourceExhausted: more than kBusy of the processors' time within `sample`. kCancelled.
Status CheckCpu(std::chrono::milliseconds sample, std::stop_token stop);
// kResourceExhausted: more than kBusy of the memory.
Status CheckMemory();

}  // namespace hearth::plugin
