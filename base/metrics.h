// Metrics: counters and histograms of the process, and /metrics in Prometheus' text format.
//
// A family is an object with static storage beside the code that counts:
//   CounterFamily g_requests("hearth_http_requests_total", "HTTP requests answered.", {"code"});
//   g_requests.Add({"200"});
// Names: hearth_…_total for counters, …_bytes, …_seconds; base units. What can be looked up when
// somebody asks (a queue's depth, bytes on disk) is a Reading made then, not a gauge kept up to
// date. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hearth {

// Series of one family. A label's values come from a fixed set; should one ever not, what comes
// beyond is counted under "other" instead of filling memory here and in Prometheus.
inline constexpr size_t kMaxMetricSeries = 128;

using MetricLabelValues = std::initializer_list<std::string_view>;

class CounterFamily {
 public:
  CounterFamily(const std::string& name, const std::string& help,
                std::vector<std::string> label_names = {});
  ~CounterFamily();
  CounterFamily(const CounterFamily&) = delete;
  CounterFamily& operator=(const CounterFamily&) = delete;

  // `values` in the order of the label names, one each. `amount` ≥ 0.
  void Add(MetricLabelValues values, double amount = 1);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

class HistogramFamily {
 public:
  // `bounds`: upper bounds of the buckets, ascending; the last bucket, +Inf, comes by itself.
  HistogramFamily(const std::string& name, const std::string& help, std::vector<double> bounds,
                  std::vector<std::string> label_names = {});
  ~HistogramFamily();
  HistogramFamily(const HistogramFamily&) = delete;
  HistogramFamily& operator=(const HistogramFamily&) = delete;

  void Observe(MetricLabelValues values, double value);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

// One value that is read when somebody asks.
struct Reading {
  std::string name;
  std::string help;
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
  bool counter = false;  // only ever grows (name ends in _total); else a gauge
};

// process_…: CPU, memory, descriptors, threads and start, as Prometheus' clients name them.
std::vector<Reading> ProcessReadings();

// The whole answer to GET /metrics: every family that was counted, and `readings` (those of one
// name need not be neighbours).
std::string MetricsText(const std::vector<Reading>& readings);
inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace hearth
