#include "plugin/byte_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <string>
#include <thread>

namespace hearth::plugin {
namespace {

void Put(ByteRing& ring, const std::string& text) {
  auto buffer = ring.AcquireForWrite();
  ASSERT_TRUE(buffer.ok());
  std::memcpy(buffer->data(), text.data(), text.size());
  ring.Publish(text.size());
}

std::string Take(ByteRing& ring, size_t reader = 0) {
  auto buffer = ring.Next(reader);
  EXPECT_TRUE(buffer.ok()) << buffer.status();
  return buffer.ok() ? std::string(buffer->data(), buffer->size()) : "";
}

TEST(ByteRing, KeepsOrderAndEnds) {
  ByteRing ring(2);
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) Put(ring, std::to_string(i));
    ring.Finish(OkStatus());
  });
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(Take(ring), std::to_string(i));
  EXPECT_EQ(Take(ring), "");
  EXPECT_EQ(Take(ring), "");
  producer.join();
}

TEST(ByteRing, HoldsNoMoreThanItsBuffers) {
  ByteRing ring(3);
  std::atomic<int> put = 0;
  std::thread producer([&] {
    for (int i = 0; i < 50; ++i) {
      auto buffer = ring.AcquireForWrite();
      ASSERT_TRUE(buffer.ok());
      ring.Publish(1);
      ++put;
    }
    ring.Finish(OkStatus());
  });
  for (int taken = 0; taken < 50; ++taken) {
    ASSERT_EQ(Take(ring).size(), 1u);
    // The one just taken is still held.
    EXPECT_LE(put.load(), taken + 3);
  }
  producer.join();
}

TEST(ByteRing, CancelEndsBothWaits) {
  ByteRing full(2);
  Put(full, "a");
  Put(full, "b");
  ByteRing empty(2);
  std::thread producer(
      [&] { EXPECT_EQ(full.AcquireForWrite().status().code(), StatusCode::kCancelled); });
  std::thread consumer([&] { EXPECT_EQ(empty.Next().status().code(), StatusCode::kCancelled); });
  full.Cancel(Cancelled("stop"));
  empty.Cancel(Cancelled("stop"));
  producer.join();
  consumer.join();
  full.Cancel(DataLoss("later"));
  EXPECT_EQ(full.Next().status().code(), StatusCode::kCancelled);
}

// Runs `side` on a thread of its own. A wake that got lost is a failure, not a test that hangs.
class Side {
 public:
  Side(ByteRing& ring, std::function<void()> side)
      : ring_(ring), done_(std::async(std::launch::async, std::move(side))) {}
  ~Side() {
    if (done_.wait_for(std::chrono::seconds(20)) == std::future_status::ready) return;
    ADD_FAILURE() << "nothing woke it";
    ring_.Cancel(Cancelled("the test gives up"));
  }

 private:
  ByteRing& ring_;
  std::future<void> done_;
};

bool Reaches(const std::atomic<int>& count, int least) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (count < least && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
  return count >= least;
}

// Each round begins where the consumer took all and so sleeps, or will. Where it sleeps only in the
// middle of the four, up to three are left for the push.
TEST(ByteRing, ASleepingConsumerIsWokenForAQuarterAndForAPush) {
  ByteRing ring(16);
  std::atomic<int> taken = 0;
  const Side consumer(ring, [&] {
    while (!Take(ring).empty()) ++taken;
  });
  int put = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 4; ++i, ++put) Put(ring, "a");
    ASSERT_TRUE(Reaches(taken, put - 3)) << taken << " of " << put;
    ring.Push();
    ASSERT_TRUE(Reaches(taken, put)) << taken << " of " << put;
  }
  Put(ring, "a");
  ring.Finish(OkStatus());
}

// It sleeps where all is full; up to three buffers that were returned before it did are not worth a
// wake.
TEST(ByteRing, ASleepingProducerIsWokenForAQuarter) {
  ByteRing ring(16);
  std::atomic<int> put = 0;
  const Side producer(ring, [&] {
    for (int i = 0; i < 416; ++i, ++put) Put(ring, "a");
    ring.Finish(OkStatus());
  });
  int taken = 0;
  for (int room = 16; room <= 416; room += 4) {
    ASSERT_TRUE(Reaches(put, room - 3)) << put << " of " << room;
    // What is taken last is still held.
    for (const int returned = room - 12; taken < returned + 1 && taken < 416; ++taken) Take(ring);
  }
  while (!Take(ring).empty()) ++taken;
  EXPECT_EQ(taken, 416);
}

TEST(ByteRing, NoWakeIsLostWhateverTheSizeAndThePushes) {
  for (const size_t buffers : {2, 3, 4, 9, 16}) {
    ByteRing ring(buffers, 2);
    const Side producer(ring, [&] {
      for (int i = 0; i < 3000; ++i) {
        Put(ring, std::to_string(i));
        if (i % 7 == 0) ring.Push();
        if (i % 64 == 0) std::this_thread::yield();
      }
      ring.Finish(OkStatus());
    });
    const auto read = [&](size_t reader, int pause) {
      for (int i = 0; i < 3000; ++i) {
        ASSERT_EQ(Take(ring, reader), std::to_string(i));
        if (i % pause == 0) std::this_thread::yield();
      }
      EXPECT_EQ(Take(ring, reader), "");
    };
    const Side first(ring, [&] { read(0, 41); });
    const Side second(ring, [&] { read(1, 5); });
  }
}

TEST(ByteRing, ABufferIsFreeOnceAllReadersReturnedIt) {
  ByteRing ring(2, 2);
  Put(ring, "a");
  Put(ring, "b");
  std::atomic<bool> put = false;
  const Side producer(ring, [&] {
    Put(ring, "c");
    put = true;
  });
  EXPECT_EQ(Take(ring, 0), "a");
  EXPECT_EQ(Take(ring, 0), "b");
  EXPECT_EQ(Take(ring, 1), "a");
  EXPECT_FALSE(put) << "the second still reads it";
  EXPECT_EQ(Take(ring, 1), "b");
  EXPECT_EQ(Take(ring, 0), "c");
  EXPECT_EQ(Take(ring, 1), "c");
}

TEST(ByteRing, FinishWithAnErrorComesAfterTheData) {
  ByteRing ring(2);
  Put(ring, "a");
  ring.Finish(DataLoss("broken"));
  EXPECT_EQ(Take(ring), "a");
  EXPECT_EQ(ring.Next().status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth::plugin
