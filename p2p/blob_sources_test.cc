#include "p2p/blob_sources.h"

#include <gtest/gtest.h>

namespace hearth::p2p {
namespace {

TEST(BlobSources, SaysWhoGaveMostFirst) {
  BlobSources sources;
  const Digest blob = Digest::Of("blob");
  sources.Add(blob, {ByteOrigin::kPeer, "n1", 10});
  sources.Add(blob, {ByteOrigin::kRegistry, "r/a", 15});
  sources.Add(blob, {ByteOrigin::kPeer, "n1", 10});
  sources.Add(Digest::Of("other"), {ByteOrigin::kPeer, "n1", 1000});
  const auto of = sources.Of(blob);
  ASSERT_EQ(of.size(), 2u);
  EXPECT_EQ(of[0].name, "n1");
  EXPECT_EQ(of[0].bytes, 20u);
  EXPECT_EQ(of[1].name, "r/a");
  EXPECT_EQ(sources.TotalsOf(blob).peer_bytes, 20u);
  EXPECT_EQ(sources.TotalsOf(blob).origin_bytes, 15u);
  sources.Forget(blob);
  EXPECT_TRUE(sources.Of(blob).empty());
}

TEST(BlobSources, ManyNodesAreAFewLines) {
  BlobSources sources;
  const Digest blob = Digest::Of("blob");
  for (int node = 0; node < 1000; ++node) {
    sources.Add(blob, {ByteOrigin::kPeer, "n" + std::to_string(node), 1});
    sources.Add(blob, {ByteOrigin::kRegistry, "r" + std::to_string(node), 1});
  }
  EXPECT_LE(sources.Of(blob).size(), BlobSources::kMaxSourcesPerBlob + 2);
  EXPECT_EQ(sources.TotalsOf(blob).peer_bytes, 1000u);
  EXPECT_EQ(sources.TotalsOf(blob).origin_bytes, 1000u);
}

}  // namespace
}  // namespace hearth::p2p
