#include "plugin/unpack_slots.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace hearth::plugin {
namespace {

class UnpackSlotsTest : public ::testing::Test {
 protected:
  void Enqueue(char name, bool growing) {
    EXPECT_TRUE(slots_.Enqueue(growing, [this, name] { started_ += name; }).ok());
  }

  UnpackSlots slots_{{.running = 1, .open_growing = 2, .queue_limit = 2}};
  std::string started_;  // in order
};

TEST_F(UnpackSlotsTest, StartsInOrderAsSlotsBecomeFree) {
  Enqueue('a', true);
  Enqueue('b', false);
  Enqueue('c', true);
  EXPECT_EQ(started_, "a");
  slots_.End(true);
  EXPECT_EQ(started_, "ab");
  slots_.End(false);
  EXPECT_EQ(started_, "abc");
}

TEST_F(UnpackSlotsTest, CompleteBlobPassesGrowingOnesBeyondTheirLimit) {
  Enqueue('a', true);
  slots_.Park();
  Enqueue('b', true);
  slots_.Park();
  Enqueue('c', true);
  Enqueue('d', false);
  EXPECT_EQ(started_, "abd");
  slots_.End(false);
  EXPECT_EQ(started_, "abd");
  slots_.Resume({});
  slots_.End(true);
  EXPECT_EQ(started_, "abdc");
}

TEST_F(UnpackSlotsTest, AParkedBuildEndsWithoutASlotOfItsOwn) {
  Enqueue('a', true);
  slots_.Park();
  Enqueue('b', true);
  Enqueue('c', true);
  slots_.EndParked(true);
  EXPECT_EQ(started_, "ab") << "b has the only slot";
  slots_.Park();
  EXPECT_EQ(started_, "abc") << "a is not open any more";
  slots_.End(true);
}

TEST_F(UnpackSlotsTest, StopRequestResumesWithoutASlot) {
  Enqueue('a', true);
  slots_.Park();
  Enqueue('b', false);
  std::stop_source stop;
  std::thread resumed([&] { slots_.Resume(stop.get_token()); });
  stop.request_stop();
  resumed.join();
}

TEST_F(UnpackSlotsTest, FullQueueIsRefused) {
  for (const char name : {'a', 'b', 'c'}) Enqueue(name, true);
  EXPECT_EQ(slots_.Enqueue(false, [] {}).code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace hearth::plugin
