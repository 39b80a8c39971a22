#include "p2p/upload_queue.h"

#include <gtest/gtest.h>

#include <map>

namespace hearth::p2p {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kPiece = 1 << 20;

class UploadQueueTest : public testing::Test {
 protected:
  bool Push(uint64_t id, uint32_t holders, uint64_t peer = 1) {
    holders_[id] = holders;
    return queue_.Push({UploadId{id}, peer, kPiece, holders}, now_);
  }
  // One piece goes out in that time: the queue knows the uplink.
  void Warm(milliseconds time) {
    ASSERT_TRUE(Push(100, 0, 100));
    ASSERT_EQ(Next(), 100u);
    queue_.Done(UploadId{100}, now_ += time);
  }
  uint64_t Next() {
    const auto upload =
        queue_.Next([this](UploadId id) { return holders_[static_cast<uint64_t>(id)]; }, now_);
    return upload ? static_cast<uint64_t>(upload->id) : 0;
  }

  UploadQueue queue_{{1, 16, 4}};
  std::map<uint64_t, uint32_t> holders_;
  SteadyTime now_{std::chrono::seconds(1000)};
};

TEST_F(UploadQueueTest, WhatFewHaveGoesFirstThenWhoAskedFirst) {
  Warm(milliseconds(1));
  ASSERT_TRUE(Push(1, 5));
  ASSERT_TRUE(Push(2, 0));
  ASSERT_TRUE(Push(3, 5));
  for (const uint64_t id : {2, 1, 3}) {
    EXPECT_EQ(Next(), id);
    EXPECT_EQ(Next(), 0u) << "one slot";
    queue_.Done(UploadId{id}, now_ += milliseconds(10));
  }
}

TEST_F(UploadQueueTest, WhatWasKnownWhenItCameCountsWhereNothingNewerIs) {
  Warm(milliseconds(1));
  ASSERT_TRUE(Push(1, 5));
  ASSERT_TRUE(Push(2, 0));
  EXPECT_EQ(queue_.Next(now_)->id, UploadId{2});
}

TEST_F(UploadQueueTest, NobodyWaitsForeverBehindWhatFewHave) {
  ASSERT_TRUE(Push(1, 9));
  now_ += UploadQueue::kMaxWait;
  ASSERT_TRUE(Push(2, 0));
  EXPECT_EQ(Next(), 1u);
}

TEST_F(UploadQueueTest, OnePeerDoesNotFillTheQueue) {
  Warm(milliseconds(1));
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_TRUE(Push(id, 0));
  EXPECT_FALSE(Push(5, 0));
  EXPECT_TRUE(Push(6, 0, 2));
}

TEST_F(UploadQueueTest, MoreThanTheUplinkSendsInTimeIsBusy) {
  Warm(UploadQueue::kQueueTime / 4);
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_TRUE(Push(id, 0, id)) << id;
  EXPECT_FALSE(Push(5, 0, 5));
}

TEST_F(UploadQueueTest, ASlowUplinkStillLetsAFewWait) {
  Warm(milliseconds(5000));
  for (uint64_t id = 1; id <= UploadQueue::kMinWaiting; ++id) EXPECT_TRUE(Push(id, 0));
  EXPECT_FALSE(Push(9, 0));
}

TEST_F(UploadQueueTest, ACancelledOneNeverGoesAndFreesItsSlot) {
  Warm(milliseconds(1));
  ASSERT_TRUE(Push(1, 0));
  ASSERT_TRUE(Push(2, 0));
  ASSERT_TRUE(Push(3, 0, 2));
  ASSERT_EQ(Next(), 1u);
  EXPECT_TRUE(queue_.Cancel(UploadId{2}));
  EXPECT_TRUE(queue_.Cancel(UploadId{1}));
  EXPECT_FALSE(queue_.Cancel(UploadId{1}));
  EXPECT_EQ(Next(), 3u);
  queue_.RemovePeer(2);
  EXPECT_EQ(queue_.sending() + queue_.waiting(), 0u);
  EXPECT_EQ(queue_.waiting_bytes(), 0u);
}

TEST_F(UploadQueueTest, APieceThatSpreadElsewhereLosesItsTurn) {
  ASSERT_TRUE(Push(1, 0));
  ASSERT_TRUE(Push(2, 1));
  holders_[1] = 7;
  EXPECT_EQ(Next(), 2u);
}

}  // namespace
}  // namespace hearth::p2p
