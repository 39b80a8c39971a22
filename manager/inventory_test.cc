#include "manager/inventory.h"

#include <gtest/gtest.h>

#include <string>

namespace hearth::manager {
namespace {

std::vector<Digest> Blobs(std::string_view letters) {
  std::vector<Digest> blobs;
  for (const char letter : letters) blobs.push_back(Digest::Of(std::string(1, letter)));
  return blobs;
}

std::vector<uint32_t> HoldersOf(const Inventory& inventory, char letter) {
  const auto holders = inventory.Holders(Blobs({&letter, 1}).front());
  return {holders.begin(), holders.end()};
}

TEST(Inventory, KnowsWhoHoldsWhatHoweverOftenItIsTold) {
  Inventory inventory;
  ASSERT_TRUE(inventory.Add(NodeId{3}, Blobs("abca")).ok());
  ASSERT_TRUE(inventory.Add(NodeId{1}, Blobs("b")).ok());
  ASSERT_TRUE(inventory.Add(NodeId{3}, Blobs("cd")).ok());
  EXPECT_EQ(HoldersOf(inventory, 'b'), (std::vector<uint32_t>{1, 3}));
  EXPECT_EQ(HoldersOf(inventory, 'x'), (std::vector<uint32_t>{}));
  EXPECT_EQ(inventory.HeldBy(NodeId{3}), 4u);
  EXPECT_TRUE(inventory.Holds(NodeId{3}, Blobs("d").front()));
  EXPECT_EQ(inventory.blobs(), 4u);
}

TEST(Inventory, WhatIsDroppedOrGoneIsForgottenAndItsNumberUsedAgain) {
  Inventory inventory;
  ASSERT_TRUE(inventory.Add(NodeId{1}, Blobs("ab")).ok());
  ASSERT_TRUE(inventory.Add(NodeId{2}, Blobs("bc")).ok());
  inventory.Remove(NodeId{2}, Blobs("bx"));
  EXPECT_EQ(HoldersOf(inventory, 'b'), (std::vector<uint32_t>{1}));
  inventory.RemoveNode(NodeId{1});
  EXPECT_EQ(inventory.blobs(), 1u);
  ASSERT_TRUE(inventory.Add(NodeId{4}, Blobs("de")).ok());
  EXPECT_EQ(HoldersOf(inventory, 'd'), (std::vector<uint32_t>{4}));
  EXPECT_EQ(HoldersOf(inventory, 'a'), (std::vector<uint32_t>{}));
  EXPECT_EQ(HoldersOf(inventory, 'c'), (std::vector<uint32_t>{2}));
}

}  // namespace
}  // namespace hearth::manager
