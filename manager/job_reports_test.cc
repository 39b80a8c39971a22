#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "manager/jobs.h"

namespace hearth::manager {
namespace {

using std::chrono::seconds;

constexpr WallTime kNow{seconds(1'700'000'000)};

class JobReportsTest : public ::testing::Test {
 protected:
  // For the nodes "0", "1", …; they are there.
  void Add(size_t nodes, size_t items = 1, uint32_t retries = 0) {
    Job job;
    job.id = 1;
    job.spec.retries = retries;
    for (size_t i = 0; i < items; ++i) {
      job.spec.items.emplace_back().url = "r/i" + std::to_string(i) + ":v";
    }
    for (size_t i = 0; i < nodes; ++i) {
      Target& target = job.targets.emplace_back();
      target.node_id = target.name = std::to_string(i);
      jobs_.Online(target.name);
    }
    EXPECT_EQ(jobs_.Add(std::move(job)), OkStatus());
  }
  void Report(size_t node, const std::vector<ItemOutcome>& items, uint32_t attempt = 1) {
    jobs_.Report(std::to_string(node), 1, attempt, items, kNow);
    (void)jobs_.Take();
  }
  const Job& Shown() const { return *jobs_.Find(1); }
  const Target& Of(size_t node) const { return Shown().targets.at(node); }

  static ItemOutcome Copies(const std::string& what, size_t count) {
    ItemOutcome item;
    for (size_t i = 0; i < count; ++i) {
      item.copies.emplace_back().url = "https://r/v2/" + what + "/" + std::to_string(i);
    }
    return item;
  }

  Jobs jobs_;
};

TEST_F(JobReportsTest, CopiesThatANodeMakesUpFailNobodyElse) {
  Add(9);
  for (size_t liar = 0; liar < 8; ++liar) {
    Report(liar, {Copies("fake" + std::to_string(liar), 20'000)});
    EXPECT_EQ(Of(liar).copies.size() + Of(liar).unlisted, 20'000u);
  }
  EXPECT_LE(Shown().tasks.size(), Jobs::kMaxTasksPerJob);
  Report(8, {Copies("honest", 10)});
  EXPECT_EQ(Of(8).state, TargetState::kDone);
  EXPECT_EQ(Of(8).unlisted, 10u);
  EXPECT_EQ(Shown().state, JobState::kSuccess);
}

TEST_F(JobReportsTest, AnAttemptThatFailsListsNothingUnlessItIsTheLast) {
  Add(2, 2, /*retries=*/3);
  const ItemOutcome broken{.status = Unavailable("no route")};
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    Report(0, {Copies("fake" + std::to_string(attempt), 10'000), broken}, attempt);
    EXPECT_TRUE(Shown().tasks.empty());
  }
  Report(0, {Copies("last", 3), broken}, 4);
  EXPECT_EQ(Of(0).state, TargetState::kFailed);
  EXPECT_EQ(Of(0).copies.size(), 3u);
}

TEST_F(JobReportsTest, ANodeListsNoMoreThanItsShareInAllItsRounds) {
  Add(2);
  for (uint32_t attempt = 1; attempt <= 6; ++attempt) {
    Report(0, {Copies("fake" + std::to_string(attempt), 4'000)}, attempt);
    jobs_.Ask(1, {Of(0)}, kNow);
  }
  EXPECT_EQ(Shown().tasks.size(), Jobs::kMaxTasksOfNode);
}

TEST_F(JobReportsTest, FailuresWithTheSameTextTakeTheRoomOfOne) {
  const std::string text = "the registry answered 503 " + std::string(500, 'x');
  Add(20, 256);
  std::vector<ItemOutcome> items(256, {.status = Unavailable(text)});
  for (size_t node = 0; node < 20; ++node) Report(node, items);
  const std::string* first = &Of(0).why.at(0).message.str();
  EXPECT_EQ(*first, text);
  for (size_t node = 0; node < 20; ++node) {
    ASSERT_EQ(Of(node).why.size(), 256u);
    for (const ItemFailure& failure : Of(node).why) EXPECT_EQ(&failure.message.str(), first);
  }
}

// Of each node the items that failed, and a text, are known all the same.
TEST_F(JobReportsTest, TextsThatAllDifferAreKeptUpToALimit) {
  constexpr size_t kNodes = 150;
  Add(kNodes, 256);
  size_t bytes = 0;
  for (size_t node = 0; node < kNodes; ++node) {
    std::vector<ItemOutcome> items;
    for (size_t item = 0; item < 256; ++item) {
      const std::string text = std::to_string(node) + "/" + std::to_string(item);
      items.push_back({.status = Unavailable(text + std::string(1'000, 'x'))});
    }
    Report(node, items);
    std::set<const std::string*> texts;
    for (const ItemFailure& failure : Of(node).why) texts.insert(&failure.message.str());
    for (const std::string* text : texts) bytes += text->size();
    ASSERT_EQ(Of(node).why.size(), 256u);
    EXPECT_EQ(Of(node).why.at(255).item, 255u);
    EXPECT_TRUE(Of(node).why.at(0).message.str().starts_with(std::to_string(node) + "/0"));
    EXPECT_LT(texts.size(), 20u);
  }
  EXPECT_LT(bytes, kNodes * (17u << 10));
}

// ---- how fast it goes

TEST_F(JobReportsTest, TheRateIsOfWhatComesAndFallsWhereNothingDoes) {
  Add(3);
  const auto tell = [&](size_t node, const TargetBytes& bytes, int second) {
    EXPECT_TRUE(jobs_.Progress(std::to_string(node), 1, 1, bytes, kNow + seconds(second)));
  };
  EXPECT_EQ(TimeLeftOf(Shown()), std::nullopt);
  // 400 of node 0 were there.
  tell(0, {.done = 400, .total = 1'000}, 0);
  EXPECT_EQ(Shown().bytes_per_second, 0u);
  tell(0, {.done = 600, .total = 1'000, .peer = 150, .origin = 50}, 1);
  EXPECT_EQ(Shown().bytes_per_second, 200u);
  EXPECT_EQ(CountsOf(Shown()).present_bytes, 400u);
  // 400 of it, and two more nodes as large.
  EXPECT_EQ(TimeLeftOf(Shown()), seconds(12));
  tell(1, {.done = 400, .total = 1'000, .origin = 400}, 2);
  EXPECT_EQ(Shown().bytes_per_second, 300u);
  (void)jobs_.Take();
  jobs_.Tick(kNow + seconds(2));
  EXPECT_TRUE(jobs_.Take().empty());
  jobs_.Tick(kNow + seconds(5));
  EXPECT_EQ(Shown().bytes_per_second, 120u);
  ASSERT_EQ(jobs_.Take().size(), 1u);  // readers are told
  jobs_.Tick(kNow + seconds(15));
  EXPECT_EQ(Shown().bytes_per_second, 0u);
  EXPECT_EQ(TimeLeftOf(Shown()), std::nullopt);
  EXPECT_EQ(jobs_.Take().size(), 1u);
  jobs_.Tick(kNow + seconds(16));
  EXPECT_TRUE(jobs_.Take().empty());
}

TEST_F(JobReportsTest, AnEndedJobHasNoRateAndSaysWhatWasThereBefore) {
  Add(1);
  EXPECT_TRUE(jobs_.Progress("0", 1, 1, {.done = 10, .total = 1'000, .peer = 10}, kNow));
  ItemOutcome item = Copies("i", 1);
  item.bytes = {.done = 1'000, .total = 1'000, .fetched = 700, .peer = 600, .origin = 50};
  Report(0, {item});
  EXPECT_EQ(Shown().state, JobState::kSuccess);
  EXPECT_EQ(Shown().bytes_per_second, 0u);
  EXPECT_EQ(CountsOf(Shown()).present_bytes, 300u);
  EXPECT_EQ(TimeLeftOf(Shown()), std::nullopt);
}

}  // namespace
}  // namespace hearth::manager
