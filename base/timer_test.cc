#include "base/timer.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace hearth {
namespace {

TEST(TimerQueueTest, FiresInOrderOfTime) {
  TimerQueue timers;
  std::vector<int> order;
  std::promise<void> done;
  const auto now = std::chrono::steady_clock::now();
  timers.At(now + std::chrono::milliseconds(30), [&] {
    order.push_back(2);
    done.set_value();
  });
  timers.At(now + std::chrono::milliseconds(10), [&] { order.push_back(1); });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(TimerQueueTest, CancelledTimerNeverFires) {
  TimerQueue timers;
  bool fired = false;
  std::promise<void> later;
  const auto now = std::chrono::steady_clock::now();
  const auto id = timers.At(now + std::chrono::milliseconds(10), [&] { fired = true; });
  EXPECT_TRUE(timers.Cancel(id));
  EXPECT_FALSE(timers.Cancel(id));
  timers.At(now + std::chrono::milliseconds(20), [&] { later.set_value(); });
  later.get_future().wait();
  EXPECT_FALSE(fired);
}

TEST(TimerQueueTest, NothingFiresAfterStop) {
  TimerQueue timers;
  bool fired = false;
  const auto now = std::chrono::steady_clock::now();
  timers.At(now + std::chrono::milliseconds(20), [&] { fired = true; });
  timers.Stop();
  timers.At(now, [&] { fired = true; });
  timers.Stop();
  std::this_thread::sleep_until(now + std::chrono::milliseconds(40));
  EXPECT_FALSE(fired);
}

TEST(TimerQueueTest, DropsPendingTimersWhenDestroyed) {
  auto held = std::make_shared<int>(1);
  {
    TimerQueue timers;
    timers.At(std::chrono::steady_clock::now() + std::chrono::hours(1), [held] { (void)held; });
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace hearth
