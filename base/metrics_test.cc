#include "base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace hearth {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MetricsTest, CountsByLabels) {
  CounterFamily family("test_requests_total", "Requests.", {"route", "code"});
  family.Add({"blob", "200"});
  family.Add({"blob", "200"}, 2);
  family.Add({"blob", "404"});
  const std::string text = MetricsText({});
  EXPECT_THAT(text, HasSubstr("# HELP test_requests_total Requests.\n"
                              "# TYPE test_requests_total counter\n"));
  EXPECT_THAT(text, HasSubstr(R"(test_requests_total{code="200",route="blob"} 3)"));
  EXPECT_THAT(text, HasSubstr(R"(test_requests_total{code="404",route="blob"} 1)"));
}

TEST(MetricsTest, ACounterWithoutLabelsIsThereBeforeItCounted) {
  CounterFamily family("test_zero_total", "Nothing yet.");
  EXPECT_THAT(MetricsText({}), HasSubstr("\ntest_zero_total 0\n"));
}

TEST(MetricsTest, LabelValuesWithoutEndBecomeOther) {
  CounterFamily family("test_flood_total", "Flood.", {"who"});
  for (size_t i = 0; i < 2 * kMaxMetricSeries; ++i) family.Add({std::to_string(i)});
  const std::string text = MetricsText({});
  EXPECT_THAT(text, HasSubstr("test_flood_total{who=\"other\"} " +
                              std::to_string(kMaxMetricSeries) + "\n"));
  EXPECT_THAT(text, Not(HasSubstr("who=\"200\"")));
}

TEST(MetricsTest, AHistogramHasCumulativeBucketsSumAndCount) {
  HistogramFamily family("test_wait_seconds", "Wait.", {0.1, 1});
  family.Observe({}, 0.05);
  family.Observe({}, 0.5);
  family.Observe({}, 5);
  EXPECT_THAT(MetricsText({}), HasSubstr("test_wait_seconds_count 3\n"
                                         "test_wait_seconds_sum 5.55\n"
                                         "test_wait_seconds_bucket{le=\"0.1\"} 1\n"
                                         "test_wait_seconds_bucket{le=\"1\"} 2\n"
                                         "test_wait_seconds_bucket{le=\"+Inf\"} 3\n"));
}

TEST(MetricsTest, ReadingsOfOneNameAreOneFamilyAndEscaped) {
  const std::string text =
      MetricsText({{.name = "test_bytes", .help = "B.", .labels = {{"s", "a"}}, .value = 1},
                   {.name = "test_other", .help = "O.", .labels = {}, .value = 2},
                   {.name = "test_bytes", .help = "B.", .labels = {{"s", "\"\\\n"}}, .value = 3}});
  EXPECT_THAT(text, HasSubstr("# TYPE test_bytes gauge\n"
                              "test_bytes{s=\"a\"} 1\n"
                              "test_bytes{s=\"\\\"\\\\\\n\"} 3\n"));
}

TEST(MetricsTest, TheProcessIsDescribed) {
  const auto readings = ProcessReadings();
  const auto value = [&](const std::string& name) {
    const auto found = std::find_if(readings.begin(), readings.end(),
                                    [&](const Reading& reading) { return reading.name == name; });
    return found == readings.end() ? -1 : found->value;
  };
  EXPECT_GT(value("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GE(value("process_open_fds"), 3);
  EXPECT_GE(value("process_max_fds"), value("process_open_fds"));
  EXPECT_GE(value("process_cpu_seconds_total"), 0);
  EXPECT_GT(value("process_start_time_seconds"), 1.6e9);
}

}  // namespace
}  // namespace hearth
