#include "plugin/machine_load.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/thread.h"

namespace hearth::plugin {

namespace {

constexpr uint64_t kMaxBytes = 1 << 20;

// Takes the number in front of `text`, with the blanks before it.
std::optional<uint64_t> TakeNumber(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

std::optional<uint64_t> FieldOf(std::string_view text, std::string_view name) {
  const size_t at = text.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + name.size());
  return TakeNumber(text);
}

Status TooBusy(std::string_view what, double share) {
  return ResourceExhausted("check " + std::string(what) + ": " +
                           std::to_string(std::lround(share * 100)) + "% in use, at most " +
                           std::to_string(std::lround(kBusy * 100)) + "% may be");
}

}  // namespace

Result<CpuTimes> CpuTimes::Parse(std::string_view text) {
  constexpr std::string_view kHead = "cpu ";
  constexpr size_t kIdle = 3, kWait = 4, kFields = 8;  // user nice system idle iowait irq …
  if (!text.starts_with(kHead)) return DataLoss("/proc/stat: does not begin with \"cpu\"");
  text.remove_prefix(kHead.size());
  CpuTimes times;
  for (size_t i = 0; i < kFields; ++i) {
    const auto ticks = TakeNumber(text);
    if (!ticks) return DataLoss("/proc/stat: too few numbers");
    times.total += *ticks;
    if (i != kIdle && i != kWait) times.busy += *ticks;
  }
  return times;
}

Result<double> MemoryInUse(std::string_view text) {
  const auto total = FieldOf(text, "MemTotal:");
  const auto available = FieldOf(text, "MemAvailable:");
  if (!total || !available || *total == 0 || *available > *total) {
    return DataLoss("/proc/meminfo: has no MemTotal and MemAvailable");
  }
  return 1 - static_cast<double>(*available) / static_cast<double>(*total);
}

Status CheckCpu(std::chrono::milliseconds sample, std::stop_token stop) {
  const auto read = [] { return ReadFile("/proc/stat", kMaxBytes); };
  const CpuTimes before = TRY(CpuTimes::Parse(TRY(read())));
  Mutex mutex;
  CondVar stopped;
  const std::stop_callback on_stop(stop, [&] {
    MutexLock lock(mutex);
    stopped.NotifyAll();
  });
  {
    MutexLock lock(mutex);
    const auto until = std::chrono::steady_clock::now() + sample;
    while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) {
      (void)stopped.WaitUntil(mutex, until);
    }
  }
  if (stop.stop_requested()) return Cancelled("stopped");
  const CpuTimes after = TRY(CpuTimes::Parse(TRY(read())));
  if (after.total <= before.total || after.busy < before.busy) return OkStatus();
  const double share = static_cast<double>(after.busy - before.busy) /
                       static_cast<double>(after.total - before.total);
  return share > kBusy ? TooBusy("cpu", share) : OkStatus();
}

Status CheckMemory() {
  const double share = TRY(MemoryInUse(TRY(ReadFile("/proc/meminfo", kMaxBytes))));
  return share > kBusy ? TooBusy("mem", share) : OkStatus();
}

}  // namespace hearth::plugin
