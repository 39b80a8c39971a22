// Scenarios: what may happen to a swarm, each checked for the same invariants by name; and each
// invariant shown to fail where the rule behind it is broken on purpose.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "sim/simulation.h"

namespace hearth::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kForGood = std::chrono::hours(24);

struct Scenario {
  const char* name;
  std::function<void(Options&)> change;
  double origin_most = 1.05;  // of the size
  bool all_end = true;        // every honest node
  bool all_named = true;      // every liar; not where the manager is gone
};

// What must hold whatever happens; what does not is named.
std::string Violations(const Options& options, const Report& report, const Scenario& scenario) {
  std::string found;
  if (report.wrong > 0) found += "CompleteWithAWrongByte ";
  if (report.served_wrong > 0) found += "WrongByteServed ";
  if (static_cast<double>(report.origin_bytes) >
      scenario.origin_most * static_cast<double>(options.size_bytes * options.blobs)) {
    found += "OriginBytes ";
  }
  if (scenario.all_end && report.complete < report.honest) found += "HonestNodeDoesNotEnd ";
  if (report.most_waiting > 80) found += "Memory ";
  if (report.outstanding > 0) found += "Outstanding ";
  if (report.banned_honest > 0) found += "HonestNodeBanned ";
  if (scenario.all_named && report.unnamed > 0) found += "LiarNotNamed ";
  return found;
}

Options Small(uint64_t seed) {
  Options options;
  options.nodes = 24;
  options.size_bytes = 32 << 20;
  options.seed = seed;
  return options;
}

// Half a second of the links at 32 MiB; the outages are within it.
const Scenario kScenarios[] = {
    {"Plain", [](Options&) {}, 1.0},
    {"OneNode", [](Options& o) { o.nodes = 1; }, 1.0},
    {"TwoNodes", [](Options& o) { o.nodes = 2; }, 1.0},
    {"OnePieceOnly", [](Options& o) { o.size_bytes = 4096; }, 1.0},
    {"OddSize", [](Options& o) { o.size_bytes = (8 << 20) + 1; }, 1.0},
    {"TwoHundredNodes", [](Options& o) { o.nodes = 200, o.size_bytes = 6 << 20; }, 1.0},
    {"Racks", [](Options& o) { o.racks = 4; }, 1.0},
    {"ManyRacksOfOneNode", [](Options& o) { o.racks = 24; }, 1.0},
    {"FarApart", [](Options& o) { o.max_round_trip = std::chrono::microseconds(400'000); }, 1.0},
    {"ThinUplinks", [](Options& o) { o.uplink = 12.5e6; }, 1.0},
    {"ThinOrigin", [](Options& o) { o.origin = 12.5e6; }, 1.0},
    {"FastOrigin", [](Options& o) { o.origin = 1.25e9; }, 1.0},
    {"LossOfOnePercent", [](Options& o) { o.loss = 0.01; }},
    {"LossOfTenPercent", [](Options& o) { o.loss = 0.1; }, 1.2},
    {"SlowNodes", [](Options& o) { o.slow = 0.1; }, 1.1},
    {"HalfSlow", [](Options& o) { o.slow = 0.5; }, 1.3},
    {"ChurnOfTenPercent", [](Options& o) { o.churn = 0.1; }, 1.5},
    {"EverybodyRestarts", [](Options& o) { o.churn = 1; }, 2.6},
    {"OneInTenLies", [](Options& o) { o.lying = 0.1; }, 2.0},
    {"ThreeInTenLieTogether", [](Options& o) { o.lying = 0.3; }, 2.0},
    // Where a blob's digest disagrees each piece is fetched once more by another node, and a third
    // time where the two differ.
    {"OneInTenAttestsWrong", [](Options& o) { o.attesting = 0.1; }, 2.3},
    {"OneInTenAttestsWrongEachItsOwn", [](Options& o) { o.attesting = 0.1, o.together = false; },
     2.3},
    {"ThreeInTenAttestWrongTogether", [](Options& o) { o.attesting = 0.3; }, 2.6},
    // Where pieces are awaited that nobody can have liars are there to agree with each other in
    // the second try as well; in the end everybody fetches everything.
    {"AttestersAndGarbage", [](Options& o) { o.attesting = 0.2, o.lying = 0.1; }, 25},
    {"AttestersLossAndChurn", [](Options& o) { o.attesting = 0.2, o.loss = 0.02, o.churn = 0.2; },
     25},
    // Without a digest two nodes fetch each piece, three where they disagree.
    {"WithoutADigest", [](Options& o) { o.judged = false; }, 2.05},
    {"WithoutADigestOneLies", [](Options& o) { o.judged = false, o.attesting = 0.04; }, 2.6},
    {"WithoutADigestThreeInTenLieEachForItself",
     [](Options& o) { o.judged = false, o.attesting = 0.3, o.together = false; }, 4},
    {"WithoutADigestLiarsAndGarbage",
     [](Options& o) { o.judged = false, o.attesting = 0.04, o.lying = 0.2, o.loss = 0.01; }, 3.5},
    {"EightBlobsAtOnce", [](Options& o) { o.blobs = 8, o.size_bytes = 4 << 20; }, 1.0},
    {"SixteenBlobsOnAHundredNodes",
     [](Options& o) { o.blobs = 16, o.size_bytes = 1 << 20, o.nodes = 100; }, 1.0},
    {"BlobsLiarsAndChurn",
     [](Options& o) { o.blobs = 4, o.size_bytes = 8 << 20, o.lying = 0.1, o.churn = 0.2; }, 2.5},
    {"BlobsOfWhichSomeAttestWrong",
     [](Options& o) { o.blobs = 3, o.size_bytes = 8 << 20, o.attesting = 0.2; }, 2.6},
    {"RacksBehindThinLinks", [](Options& o) { o.racks = 3, o.rack_link = 62.5e6; }, 1.0},
    {"ZonesBehindThinLinks",
     [](Options& o) { o.racks = 6, o.zones = 2, o.rack_link = 250e6, o.zone_link = 62.5e6; }, 1.0},
    {"ThinRacksLossAndChurn",
     [](Options& o) { o.racks = 3, o.rack_link = 125e6, o.loss = 0.02, o.churn = 0.1; }, 1.5},
    {"LyingBitmaps", [](Options& o) { o.lying_bitmaps = 0.1; }, 1.1},
    {"ThreeInTenLieOfPieces", [](Options& o) { o.lying_bitmaps = 0.3; }, 1.3},
    {"LiarsAndLoss", [](Options& o) { o.lying = 0.1, o.loss = 0.02; }, 2.0},
    {"LiarsAndChurn", [](Options& o) { o.lying = 0.1, o.churn = 0.2; }, 2.5},
    {"TrackerAwayForASecond",
     [](Options& o) {
       o.tracker_outage = {milliseconds(100), milliseconds(1100)};
     },
     1.5},
    {"TrackerAwayAtTheStart",
     [](Options& o) {
       o.tracker_outage = {milliseconds(0), seconds(5)};
     },
     25},
    {"TrackerGoneForGood",
     [](Options& o) {
       o.tracker_outage = {milliseconds(150), kForGood};
     },
     4},
    {"LiarsAndTheTrackerGoneForGood",
     [](Options& o) {
       o.lying = 0.2;
       o.tracker_outage = {milliseconds(150), kForGood};
     },
     4, true, false},
    {"OriginAwayForASecond",
     [](Options& o) {
       o.origin_outage = {milliseconds(100), milliseconds(1100)};
     }},
    {"OriginGoneAtNothing", [](Options& o) { o.origin_goes_when = 0; }, 0, false},
    {"OriginGoneAtHalf", [](Options& o) { o.origin_goes_when = 0.5; }, 1.0, false},
    {"OriginGoneAtNinetyNine", [](Options& o) { o.origin_goes_when = 0.99; }, 1.0, false},
    {"OriginGoneWhenDrained", [](Options& o) { o.origin_goes_when = 1; }, 1.0},
    {"OriginRefusesSome", [](Options& o) { o.refused = 0.3; }, 1.0},
    {"OriginWithoutRanges", [](Options& o) { o.ranges = false; }, 1.0},
    {"FullDisks", [](Options& o) { o.full = 0.2; }, 1.5},
    {"PartitionThatHeals",
     [](Options& o) {
       o.partition = {milliseconds(100), milliseconds(3000)};
     },
     1.1},
    {"EverythingAtOnce",
     [](Options& o) {
       o.nodes = 40;
       o.loss = 0.02, o.lying = 0.1, o.slow = 0.1, o.churn = 0.2, o.racks = 3;
       o.tracker_outage = {milliseconds(200), milliseconds(700)};
       o.origin_outage = {milliseconds(300), milliseconds(900)};
     },
     2.5},
};

class ScenarioTest : public testing::TestWithParam<Scenario> {};

TEST_P(ScenarioTest, KeepsEveryInvariant) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Options options = Small(seed);
    GetParam().change(options);
    const auto report = Simulate(options);
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(Violations(options, *report, GetParam()), "")
        << "seed " << seed << ": " << report->complete << " of " << report->honest << " in "
        << report->seconds << " s, origin "
        << static_cast<double>(report->origin_bytes) / static_cast<double>(options.size_bytes)
        << ", waiting " << report->most_waiting << ", outstanding " << report->outstanding;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ScenarioTest, testing::ValuesIn(kScenarios),
                         [](const auto& test) { return test.param.name; });

TEST(ScenarioTest, WithTheOriginGoneAndNoHolderNodesGiveUpWithinTheirBound) {
  Options options = Small(1);
  options.origin_goes_when = 0;
  const auto report = Simulate(options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->complete, 0u);
  EXPECT_EQ(report->gave_up, options.nodes);
}

TEST(ScenarioTest, ThoseWhoAttestWrongTogetherAreAllBannedOnceTheDigestDisagreed) {
  Options options = Small(1);
  options.attesting = 0.3;
  const auto report = Simulate(options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->mismatches, report->honest);
  EXPECT_EQ(report->banned, options.nodes - report->honest);
}

TEST(ScenarioTest, WithoutADigestLiarsAreOutvotedAndBannedBeforeAnybodyBelievesThem) {
  Options options = Small(1);
  options.judged = false;
  options.attesting = 0.3;
  options.together = false;
  const auto report = Simulate(options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->wrong, 0u);
  EXPECT_EQ(report->mismatches, 0u);
  EXPECT_EQ(report->banned, options.nodes - report->honest);
}

TEST(ScenarioTest, LiarsWhoseBytesReachedACheckAreBanned) {
  Options options = Small(1);
  options.lying = 0.1;
  options.size_bytes = 64 << 20;
  const auto report = Simulate(options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->banned, options.nodes - report->honest);
}

// Each invariant fails where its rule is broken, so that a green table above says something.
struct BrokenRule {
  const char* violation;
  Options::Broken broken;
  std::function<void(Options&)> change;
};

class BrokenRuleTest : public testing::TestWithParam<BrokenRule> {};

TEST_P(BrokenRuleTest, IsSeen) {
  const Scenario scenario{"", {}, 1.5};
  bool seen = false;
  for (uint64_t seed = 1; seed <= 5 && !seen; ++seed) {
    Options options = Small(seed);
    GetParam().change(options);
    const auto sound = Simulate(options);
    ASSERT_TRUE(sound.ok());
    EXPECT_EQ(Violations(options, *sound, scenario), "");
    options.broken = GetParam().broken;
    const auto broken = Simulate(options);
    ASSERT_TRUE(broken.ok());
    seen = Violations(options, *broken, scenario).find(GetParam().violation) != std::string::npos;
  }
  EXPECT_TRUE(seen);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenRuleTest,
    testing::Values(BrokenRule{"CompleteWithAWrongByte", Options::Broken::kChecks,
                               [](Options& o) { o.lying = 0.1, o.nodes = 40; }},
                    BrokenRule{"WrongByteServed", Options::Broken::kChecks,
                               [](Options& o) { o.lying = 0.1, o.nodes = 40; }},
                    BrokenRule{"LiarNotNamed", Options::Broken::kBlame,
                               [](Options& o) { o.lying = 0.1, o.nodes = 40; }},
                    BrokenRule{"HonestNodeBanned", Options::Broken::kBans,
                               [](Options& o) { o.lying = 0.1, o.nodes = 40; }},
                    BrokenRule{"OriginBytes", Options::Broken::kLeases, [](Options&) {}},
                    BrokenRule{"HonestNodeDoesNotEnd", Options::Broken::kTicks,
                               [](Options& o) {
                                 o.origin_outage = {milliseconds(100), milliseconds(1100)};
                               }},
                    BrokenRule{"Memory", Options::Broken::kQueues,
                               [](Options& o) { o.nodes = 200, o.slow = 0.1; }},
                    BrokenRule{"Outstanding", Options::Broken::kCancels,
                               [](Options& o) { o.slow = 0.2, o.uplink = 2.5e6; }}),
    [](const auto& test) { return test.param.violation; });

// 1,000 by HEARTH_SIM_SEEDS at night.
TEST(ScenarioTest, RandomSeeds) {
  const char* const asked = std::getenv("HEARTH_SIM_SEEDS");
  const uint64_t seeds = asked == nullptr ? 10 : std::strtoull(asked, nullptr, 10);
  const size_t count = std::size(kScenarios);
  for (uint64_t seed = 100; seed < 100 + seeds; ++seed) {
    const Scenario& scenario = kScenarios[seed % count];
    Options options = Small(seed);
    scenario.change(options);
    const auto report = Simulate(options);
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(Violations(options, *report, scenario), "") << scenario.name << ", seed " << seed;
  }
}

}  // namespace
}  // namespace hearth::sim
