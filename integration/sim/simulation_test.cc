#include "sim/simulation.h"

#include <gtest/gtest.h>

namespace hearth::sim {
namespace {

Options Base() {
  Options options;
  options.nodes = 60;
  options.size_bytes = 48 << 20;
  return options;
}

Report MustRun(const Options& options) {
  auto report = Simulate(options);
  EXPECT_TRUE(report.ok());
  return report.ok() ? *report : Report{};
}

TEST(SimulationTest, SixtyNodesFinishNearTheBoundAndTheOriginSendsOnce) {
  const Options options = Base();
  const Report report = MustRun(options);
  EXPECT_EQ(report.complete, 60U);
  EXPECT_EQ(report.wrong, 0U);
  EXPECT_LE(report.origin_bytes, options.size_bytes * 105 / 100);
  EXPECT_GE(report.origin_bytes, options.size_bytes);
  EXPECT_GE(report.Ratio(), 1.0);
  // The whole takes 0.4 s at best, so the start counts.
  EXPECT_LE(report.Ratio(), 2.6);
}

TEST(SimulationTest, NobodyCompletesWithAWrongByteAmongLiars) {
  Options options = Base();
  options.lying = 0.1;
  const Report report = MustRun(options);
  EXPECT_LT(report.honest, 60U);
  EXPECT_EQ(report.complete, report.honest);
  EXPECT_EQ(report.wrong, 0U);
  EXPECT_GT(report.banned, 0U);
  EXPECT_LE(report.banned, 60 - report.honest);
}

TEST(SimulationTest, WrongBytesWouldSpreadIfNobodyChecked) {
  Options options = Base();
  options.lying = 0.1;
  options.broken = Options::Broken::kChecks;
  EXPECT_GT(MustRun(options).wrong, 0U);
}

TEST(SimulationTest, OriginMayGoOnceEveryPieceHasLeftIt) {
  Options options = Base();
  options.origin_goes_when = 1;
  const Report report = MustRun(options);
  EXPECT_EQ(report.complete, 60U);
}

TEST(SimulationTest, OriginOutageInTheMiddleOnlyDelays) {
  Options options = Base();
  options.origin_outage = {std::chrono::milliseconds(100), std::chrono::seconds(8)};
  const Report report = MustRun(options);
  EXPECT_EQ(report.complete, 60U);
  EXPECT_GT(report.seconds, 8);
}

TEST(SimulationTest, TrackerOutageLossChurnAndSlowNodesDoNotStopAnybody) {
  Options options = Base();
  options.tracker_outage = {std::chrono::milliseconds(100), std::chrono::seconds(4)};
  options.loss = 0.01;
  options.churn = 0.1;
  options.slow = 0.05;
  options.racks = 5;
  const Report report = MustRun(options);
  EXPECT_EQ(report.complete, 60U);
  EXPECT_EQ(report.wrong, 0U);
}

TEST(SimulationTest, WhoIsAwayEndsLaterThanTheLinksAloneWouldHaveIt) {
  Options options = Base();
  EXPECT_EQ(MustRun(options).restart_bound_seconds, MustRun(options).bound_seconds);
  options.churn = 0.1;
  options.away = std::chrono::milliseconds(2000);
  const Report report = MustRun(options);
  EXPECT_NEAR(report.restart_bound_seconds, report.bound_seconds + 2, 1e-9);
  EXPECT_GE(report.seconds, report.restart_bound_seconds);
  EXPECT_LE(report.seconds, 1.5 * report.restart_bound_seconds);
}

TEST(SimulationTest, SameSeedSameResultAnotherSeedAnother) {
  Options options = Base();
  options.nodes = 40;
  options.churn = 0.1;
  options.lying = 0.1;
  const Report first = MustRun(options);
  EXPECT_EQ(first, MustRun(options));
  options.seed = 2;
  EXPECT_NE(first, MustRun(options));
}

TEST(SimulationTest, OptionsThatMakeNoSenseAreNamed) {
  Options options = Base();
  options.lying = 1.5;
  EXPECT_FALSE(Simulate(options).ok());
  options = {};
  options.nodes = 0;
  EXPECT_FALSE(Simulate(options).ok());
}

TEST(SimulationTest, NodesThatAllRestartAtOnceNeedNotWaitForWhatNobodyVouchesFor) {
  Options options = Base();
  options.churn = 1;
  options.away = std::chrono::milliseconds(2000);
  for (options.seed = 1; options.seed <= 3; ++options.seed) {
    const Report report = MustRun(options);
    EXPECT_EQ(report.complete, 60U);
    // Two seconds until what nobody can be asked for is missed.
    EXPECT_LE(report.seconds, report.restart_bound_seconds + 4) << "seed " << options.seed;
    EXPECT_LE(report.origin_bytes, options.size_bytes * 26 / 10);
  }
}

}  // namespace
}  // namespace hearth::sim
