// What an earlier life of a node left of a blob, and who is told of it.
#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using oci::ScriptedServer;
using store::RandomBytes;

constexpr uint32_t kPieces = 10;
constexpr uint32_t kKept = 4;
constexpr uint64_t kKeptBytes = kKept * kMinPieceSizeBytes;

// `node_` fetched the first kKept pieces, gave up, and wants the blob again.
class ClusterKeptTest : public ClusterFixture {
 protected:
  void SetUp() override {
    {
      const auto before = Must(node_.swarm->Fetch(RequestTo(origin_, bytes_)));
      ASSERT_TRUE(node_.SaidJoin());
      node_.Lease(digest_, {PieceIndex{0}, kKept});
      ASSERT_TRUE(HasBytes(*before, kKeptBytes));
    }
    ASSERT_TRUE(node_.Said([](const v1::FromNode& message) { return message.has_leave(); }));
    fetch_ = Must(node_.swarm->Fetch(RequestTo(origin_, bytes_)));
    ASSERT_TRUE(node_.Said([](const v1::FromNode& message) {
      return message.join().kept() == std::string("\x0f\0", 2) &&
             message.join().present() == message.join().kept();
    }));
    fed_ = Must(listener_.swarm->Fetch(RequestTo(refusing_, bytes_)));
    ASSERT_TRUE(listener_.SaidJoin());
    listener_.Tell(digest_, {node_.AsNeighbour()});
  }
  static bool HasBytes(const Fetch& fetch, uint64_t bytes) {
    for (const Deadline deadline = Soon(); !deadline.Passed();) {
      if (fetch.blob()->PresentBytes() == bytes) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

  const std::string bytes_ = RandomBytes(kPieces * kMinPieceSizeBytes, 1);
  const Digest digest_ = Digest::Of(bytes_);
  ScriptedServer origin_{Serving(bytes_)};
  ScriptedServer refusing_{[](const oci::Request&, int) { return oci::StatusReply(401); }};
  oci::Registry registry_ = MakeRegistry();
  TestNode node_{authority_, registry_};
  TestNode listener_{authority_, registry_};
  std::shared_ptr<Fetch> fetch_;
  std::shared_ptr<Fetch> fed_;
};

TEST_F(ClusterKeptTest, IsToldOnceSomebodySaysWhatItHashesTo) {
  TestNode author(authority_, registry_);
  const auto at_author = Must(author.swarm->Fetch(RequestTo(origin_, bytes_)));
  ASSERT_TRUE(author.SaidJoin());
  author.Tell(digest_, {node_.AsNeighbour()});
  author.Lease(digest_, {PieceIndex{0}, kKept});
  EXPECT_TRUE(HasBytes(*fed_, kKeptBytes)) << "from the node, which alone is its neighbour";
  EXPECT_EQ(fetch_->blob()->PresentBytes(), kKeptBytes);
  EXPECT_EQ(origin_bytes, 2 * kKeptBytes);
}

TEST_F(ClusterKeptTest, IsFetchedOnceMoreUnderALeaseAndTold) {
  node_.Lease(digest_, {PieceIndex{0}, kKept});
  EXPECT_TRUE(HasBytes(*fed_, kKeptBytes));
  EXPECT_EQ(origin_bytes, 2 * kKeptBytes);
  node_.Lease(digest_, {PieceIndex{kKept}, kPieces - kKept});
  EXPECT_EQ(fetch_->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(fed_->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(ClusterKeptTest, IsEnoughToCompleteTheBlob) {
  node_.Lease(digest_, {PieceIndex{kKept}, kPieces - kKept});
  EXPECT_EQ(fetch_->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(fed_->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(origin_bytes, bytes_.size());
}

TEST_F(ClusterKeptTest, ThatIsNotWhatTheRegistryHasIsNeverAttestedAndTheBlobComesAnew) {
  // The file is that of a false piece which was believed.
  ASSERT_EQ(WriteAllAt(fetch_->blob()->file()->get(), std::string_view("false"), 100), OkStatus());
  node_.Lease(digest_, {PieceIndex{0}, kPieces});
  EXPECT_TRUE(node_.Said([](const v1::FromNode& message) { return message.has_mismatch(); }));
  EXPECT_TRUE(node_.Said([](const v1::FromNode& message) {
    return message.has_join() && message.join().present().empty() && message.join().kept().empty();
  }));
  for (const v1::FromNode& message : node_.tracker.said()) {
    if (!message.has_attestation()) continue;
    const auto told = Must(ParsePieceSums(message.attestation().payload()));
    for (const PieceSum& sum : told.sums) {
      const auto at = static_cast<uint64_t>(sum.piece) * kMinPieceSizeBytes;
      EXPECT_EQ(sum.sum, Digest::Of(std::string_view(bytes_).substr(at, kMinPieceSizeBytes)));
    }
  }
}

}  // namespace
}  // namespace hearth::p2p
