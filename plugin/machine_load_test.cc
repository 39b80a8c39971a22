#include "plugin/machine_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

TEST(MachineLoadTest, ReadsProcStat) {
  const auto times = CpuTimes::Parse("cpu  10 1 4 80 5 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n");
  ASSERT_TRUE(times.ok()) << times.status();
  EXPECT_EQ(times->total, 100u);
  EXPECT_EQ(times->busy, 15u);
  for (const char* bad : {"", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  a"}) {
    EXPECT_EQ(CpuTimes::Parse(bad).status().code(), StatusCode::kDataLoss) << bad;
  }
}

TEST(MachineLoadTest, ReadsProcMeminfo) {
  const auto share = MemoryInUse("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:     250 kB\n");
  ASSERT_TRUE(share.ok());
  EXPECT_DOUBLE_EQ(*share, 0.75);
  for (const char* bad : {"", "MemTotal: 0 kB\nMemAvailable: 0 kB", "MemTotal: 5 kB"}) {
    EXPECT_FALSE(MemoryInUse(bad).ok()) << bad;
  }
}

TEST(MachineLoadTest, ReadsThisMachine) {
  const Status memory = CheckMemory();
  EXPECT_TRUE(memory.ok() || memory.code() == StatusCode::kResourceExhausted) << memory;
  const Status cpu = CheckCpu(std::chrono::milliseconds(1), {});
  EXPECT_TRUE(cpu.ok() || cpu.code() == StatusCode::kResourceExhausted) << cpu;
}

TEST(MachineLoadTest, StopEndsTheSample) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(CheckCpu(std::chrono::hours(1), stop.get_token()).code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace hearth::plugin
