#include "plugin/byte_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
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

std::string Take(ByteRing& ring) {
  auto buffer = ring.Next();
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

TEST(ByteRing, FinishWithAnErrorComesAfterTheData) {
  ByteRing ring(2);
  Put(ring, "a");
  ring.Finish(DataLoss("broken"));
  EXPECT_EQ(Take(ring), "a");
  EXPECT_EQ(ring.Next().status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace hearth::plugin
