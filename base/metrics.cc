#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <unordered_map>

#include "base/status.h"
#include "base/thread.h"

namespace hearth {

namespace {

constexpr char kOther[] = "other";

// Never destroyed: static objects of other files count until the very end.
prometheus::Registry& Registry() {
  static auto* const registry = new prometheus::Registry;
  return *registry;
}

// The series of one family by the values of its labels.
template <typename Metric>
class Series {
 public:
  Series(prometheus::Family<Metric>& family, std::vector<std::string> label_names)
      : family_(family), label_names_(std::move(label_names)) {}

  template <typename... Args>
  Metric& Of(MetricLabelValues values, const Args&... args) EXCLUDES(mutex_) {
    CHECK(values.size() == label_names_.size());
    std::string key;
    for (const auto value : values) {
      key += value;
      key += '\0';
    }
    MutexLock lock(mutex_);
    if (const auto known = series_.find(key); known != series_.end()) return *known->second;
    const bool full = series_.size() >= kMaxMetricSeries;
    prometheus::Labels labels;
    size_t i = 0;
    for (const auto value : values) labels[label_names_[i++]] = full ? kOther : std::string(value);
    // The family gives the series that it has for labels that it knows.
    Metric& metric = family_.Add(labels, args...);
    if (!full) series_[key] = &metric;
    return metric;
  }

 private:
  prometheus::Family<Metric>& family_;
  const std::vector<std::string> label_names_;
  Mutex mutex_;
  std::unordered_map<std::string, Metric*> series_ GUARDED_BY(mutex_);
};

Reading Gauge(std::string name, std::string help, double value) {
  return {.name = std::move(name), .help = std::move(help), .labels = {}, .value = value};
}

// Field 22 of /proc/self/stat, in ticks since the boot; 0 where it cannot be read.
double StartTicks() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return std::strtod(field.c_str(), nullptr);
}

double BootSeconds() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return 0;
}

void AddMemory(std::vector<Reading>& out) {
  std::ifstream file("/proc/self/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  const auto page = static_cast<double>(::sysconf(_SC_PAGESIZE));
  out.push_back(Gauge("process_virtual_memory_bytes", "Virtual memory size.", size * page));
  out.push_back(Gauge("process_resident_memory_bytes", "Resident memory size.", resident * page));
}

void AddDescriptors(std::vector<Reading>& out) {
  std::error_code error;
  double open = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++open;
  }
  // One is the walk's own.
  out.push_back(Gauge("process_open_fds", "Open file descriptors.", open > 0 ? open - 1 : 0));
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    out.push_back(Gauge("process_max_fds", "File descriptors that may be open.",
                        static_cast<double>(limit.rlim_cur)));
  }
}

}  // namespace

struct CounterFamily::State {
  Series<prometheus::Counter> series;
};

CounterFamily::CounterFamily(const std::string& name, const std::string& help,
                             std::vector<std::string> label_names)
    : state_(new State{
          {prometheus::BuildCounter().Name(name).Help(help).Register(Registry()), label_names}}) {
  if (label_names.empty()) Add({}, 0);  // shown from the start
}

CounterFamily::~CounterFamily() = default;

void CounterFamily::Add(MetricLabelValues values, double amount) {
  state_->series.Of(values).Increment(amount);
}

struct HistogramFamily::State {
  std::vector<double> bounds;
  Series<prometheus::Histogram> series;
};

HistogramFamily::HistogramFamily(const std::string& name, const std::string& help,
                                 std::vector<double> bounds, std::vector<std::string> label_names)
    : state_(new State{
          std::move(bounds),
          {prometheus::BuildHistogram().Name(name).Help(help).Register(Registry()), label_names}}) {
  if (label_names.empty()) state_->series.Of({}, state_->bounds);
}

HistogramFamily::~HistogramFamily() = default;

void HistogramFamily::Observe(MetricLabelValues values, double value) {
  state_->series.Of(values, state_->bounds).Observe(value);
}

std::vector<Reading> ProcessReadings() {
  std::vector<Reading> out;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  out.push_back({.name = "process_cpu_seconds_total",
                 .help = "User and system CPU time spent.",
                 .labels = {},
                 .value = seconds(usage.ru_utime) + seconds(usage.ru_stime),
                 .counter = true});
  AddMemory(out);
  AddDescriptors(out);
  static const double start =
      BootSeconds() + StartTicks() / static_cast<double>(::sysconf(_SC_CLK_TCK));
  out.push_back(Gauge("process_start_time_seconds", "Start time since the epoch.", start));
  return out;
}

std::string MetricsText(const std::vector<Reading>& readings) {
  auto families = Registry().Collect();
  std::erase_if(families, [](const auto& family) { return family.metric.empty(); });
  std::map<std::string, prometheus::MetricFamily> read;
  for (const Reading& reading : readings) {
    auto& family = read[reading.name];
    family.name = reading.name;
    family.help = reading.help;
    family.type = reading.counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    prometheus::ClientMetric metric;
    for (const auto& [name, value] : reading.labels) metric.label.push_back({name, value});
    (reading.counter ? metric.counter.value : metric.gauge.value) = reading.value;
    family.metric.push_back(std::move(metric));
  }
  for (auto& [name, family] : read) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace hearth
