#include "base/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>

#include "base/clock.h"

namespace hearth {
namespace {

// Holds threads back until it is opened.
class Gate {
 public:
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(mutex_);
    while (!open_) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ GUARDED_BY(mutex_) = false;
};

TEST(ThreadPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool({.name = "test", .threads = 4});
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pool.Submit([&] { ++ran; }).ok());
  }
  EXPECT_EQ(ran, 1000);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool({.name = "test", .threads = 1});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(pool.Submit([&, i] { order.push_back(i); }).ok());
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPoolTest, FullQueueIsResourceExhausted) {
  Gate entered;
  Gate gate;
  std::atomic<int> ran = 0;
  {
    ThreadPool pool({.name = "test", .threads = 1, .queue_limit = 2});
    ASSERT_TRUE(pool.Submit([&] {
                      entered.Open();
                      gate.Wait();
                    })
                    .ok());
    entered.Wait();
    EXPECT_TRUE(pool.Submit([&] { ++ran; }).ok());
    EXPECT_TRUE(pool.Submit([&] { ++ran; }).ok());
    EXPECT_EQ(pool.Submit([&] { ++ran; }).code(), StatusCode::kResourceExhausted);
    pool.Stop();
    EXPECT_EQ(pool.Submit([&] { ++ran; }).code(), StatusCode::kCancelled);
    pool.Stop();
    gate.Open();
  }
  EXPECT_EQ(ran, 2);
}

TEST(ThreadPoolTest, ThreadsHaveTheNameCutToFit) {
  char name[16] = {};
  {
    ThreadPool pool({.name = "a-name-that-is-too-long", .threads = 1});
    ASSERT_TRUE(
        pool.Submit([&] { ::pthread_getname_np(::pthread_self(), name, sizeof(name)); }).ok());
  }
  EXPECT_STREQ(name, "a-name-that-is-");
}

TEST(CondVarTest, WaitUntilSaysThatTheTimePassed) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  while (never.WaitUntil(mutex, deadline)) {
  }
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
}

TEST(ClockTest, FakeClockMovesOnlyWhenTold) {
  FakeClock clock;
  const WallTime wall = clock.WallNow();
  const SteadyTime steady = clock.SteadyNow();
  EXPECT_EQ(clock.WallNow(), wall);
  clock.Advance(std::chrono::seconds(5));
  EXPECT_EQ(clock.WallNow() - wall, std::chrono::seconds(5));
  EXPECT_EQ(clock.SteadyNow() - steady, std::chrono::seconds(5));
  clock.JumpWall(-std::chrono::hours(1));
  EXPECT_EQ(clock.WallNow() - wall, std::chrono::seconds(5) - std::chrono::hours(1));
  EXPECT_EQ(clock.SteadyNow() - steady, std::chrono::seconds(5));
}

TEST(ClockTest, WallTimeKeepsNanoseconds) {
  for (const int64_t nanos : {0L, 1L, -1L, 1'700'000'000'123'456'789L}) {
    EXPECT_EQ(ToUnixNanos(FromUnixNanos(nanos)), nanos);
  }
  EXPECT_GT(ToUnixNanos(RealClock().WallNow()), 1'700'000'000'000'000'000L);
}

TEST(DeadlineTest, NeverAndPassed) {
  EXPECT_TRUE(Deadline::Never().IsNever());
  EXPECT_FALSE(Deadline::Never().Passed());
  EXPECT_GT(Deadline::Never().Left(), std::chrono::hours(24 * 365));
  const Deadline past(std::chrono::steady_clock::now() - std::chrono::seconds(1));
  EXPECT_TRUE(past.Passed());
  EXPECT_EQ(past.Left(), std::chrono::steady_clock::duration::zero());
  const Deadline later = Deadline::After(std::chrono::hours(1));
  EXPECT_FALSE(later.Passed());
  EXPECT_GT(later.Left(), std::chrono::minutes(59));
}

}  // namespace
}  // namespace hearth
