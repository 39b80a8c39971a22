#include "manager/job_feed.h"

#include <gmock/gmock.h>

namespace hearth::manager {
namespace {

class CountingWatcher final : public JobFeed::Watcher {
 public:
  void Changed() override { ++count; }
  int count = 0;
};

// "5 -7": job 5 changed, then job 7 was removed.
std::string Text(const JobFeed::Changes& changes) {
  std::string text;
  for (const JobFeed::Change& change : changes.list) {
    text += (text.empty() ? "" : " ") + std::string(change.removed ? "-" : "") +
            std::to_string(change.job);
  }
  return text + (changes.lost ? " lost" : "");
}

TEST(JobFeed, KeepsTheLatestChangeOfEachJobInOrder) {
  JobFeed feed;
  for (const JobId id : {1, 2, 3, 1}) feed.Changed(id);
  EXPECT_EQ(Text(feed.After(0, 10)), "2 3 1");
  EXPECT_EQ(Text(feed.After(feed.Of(3), 10)), "1");
  EXPECT_EQ(Text(feed.After(0, 2)), "2 3");
  EXPECT_EQ(Text(feed.After(feed.Last(), 10)), "");
}

TEST(JobFeed, TellsOfRemovalsAmongTheChanges) {
  JobFeed feed;
  feed.Changed(1);
  feed.Changed(2);
  feed.Removed(1);
  feed.Changed(3);
  EXPECT_EQ(Text(feed.After(0, 10)), "2 -1 3");
  EXPECT_EQ(feed.Of(1), 0u);
}

TEST(JobFeed, SaysWhenRemovalsAreForgotten) {
  JobFeed feed;
  feed.Changed(1);
  const auto before = feed.Last();
  for (JobId id = 0; id < JobFeed::kMaxRemoved; ++id) feed.Removed(1'000 + id);
  EXPECT_FALSE(feed.After(before, 1).lost);
  feed.Removed(1);
  EXPECT_TRUE(feed.After(before, 1).lost);
  EXPECT_FALSE(feed.After(before + 1, 1).lost);
}

TEST(JobFeed, NamesAreOfOneProcess) {
  JobFeed feed;
  feed.Changed(1);
  EXPECT_EQ(feed.Parse(feed.NameOf(1)), 1u);
  EXPECT_EQ(feed.Parse(JobFeed().NameOf(1)), std::nullopt);
  EXPECT_EQ(feed.Parse(feed.NameOf(2)), std::nullopt) << "it has not come yet";
  for (const char* wrong : {"", "1", "-1", "x-1"}) EXPECT_EQ(feed.Parse(wrong), std::nullopt);
}

TEST(JobFeed, TellsWatchersOfTheirJobOnly) {
  JobFeed feed;
  const auto one = std::make_shared<CountingWatcher>();
  const auto all = std::make_shared<CountingWatcher>();
  feed.Watch(one, 1);
  feed.Watch(all, std::nullopt);
  feed.Changed(1);
  feed.Changed(2);
  feed.Removed(1);
  EXPECT_EQ(one->count, 2);
  EXPECT_EQ(all->count, 3);
  feed.End();
  EXPECT_EQ(one->count, 3);
  EXPECT_TRUE(feed.ended());
}

TEST(JobFeed, TakesNoMoreReadersThanItHasPlaces) {
  JobFeed feed;
  std::vector<std::shared_ptr<void>> places;
  for (size_t i = 0; i < JobFeed::kMaxReaders; ++i) places.push_back(feed.Enter().value());
  EXPECT_EQ(feed.Enter().status().code(), StatusCode::kResourceExhausted);
  places.pop_back();
  EXPECT_EQ(feed.readers(), JobFeed::kMaxReaders - 1);
  EXPECT_TRUE(feed.Enter().ok());
  feed.End();
  EXPECT_EQ(feed.Enter().status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace hearth::manager
