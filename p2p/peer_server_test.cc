#include "p2p/peer_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "p2p/cluster_fixture_test.h"
#include "store/blob_store_for_test.h"

namespace hearth::p2p {
namespace {

using store::RandomBytes;

TEST(PieceRequest, OnlyADigestAndARangeAreUnderstood) {
  const std::string hex = Digest::Of("x").hex();
  const std::string path = "/v1/blob/sha256/" + hex;
  const auto good = ParsePieceRequest(path, "bytes=262144-524287");
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->blob, Digest::Of("x"));
  EXPECT_EQ(good->begin_bytes, 262'144u);
  EXPECT_EQ(good->end_bytes, 524'288u);
  for (const std::string& bad : std::vector<std::string>{
           "/", "/v1/blob/sha256/", path + "/", path + "?a", "/v1/blob/sha256/" + hex + "0",
           "/v1/blob/sha256/../../etc/passwd", "/v1/blob/sha512/" + hex, "/v1/blobs"}) {
    EXPECT_EQ(ParsePieceRequest(bad, "bytes=0-1").status().code(), StatusCode::kNotFound) << bad;
  }
  for (const char* bad :
       {"", "bytes", "bytes=", "bytes=-", "bytes=1", "bytes=1-", "bytes=-5", "bytes=2-1", "0-1",
        "bytes=0-1,3-4", "bytes= 0-1", "bytes=0x1-2", "bytes=0-99999999999999999999",
        "bytes=0-8388608", "bytes=+0-1", "bytes=0--1"}) {
    EXPECT_EQ(ParsePieceRequest(path, bad).status().code(), StatusCode::kOutOfRange) << bad;
  }
  EXPECT_TRUE(ParsePieceRequest(path, "bytes=0-8388607").ok());
}

class PeerServerTest : public ClusterFixture {
 protected:
  // The status of `range` of `digest`, asked as `asker`; the body goes to `body`.
  int Ask(const TestNode& server, const TestAuthority::Member& asker, const Digest& digest,
          const std::string& range, const std::string& method = "GET") {
    net::HttpRequest request;
    request.method = method;
    request.url = "https://" + server.member.id + ".peer/v1/blob/sha256/" + digest.hex();
    request.connect_to = server.server->address();
    request.tls = asker.identity;
    request.peer_uri = net::Identity{net::Role::kNode, kLab, server.member.id}.ToUri();
    if (!range.empty()) request.headers.Set("Range", range);
    const auto answer = client_->Fetch(request, 64 << 20);
    body_ = answer.ok() ? answer->body : answer.status().ToString();
    return answer.ok() ? answer->status : 0;
  }

  const std::string bytes_ = RandomBytes(3 * kMinPieceSizeBytes + 1000, 7);
  const Digest digest_ = Digest::Of(bytes_);
  oci::Registry registry_ = MakeRegistry();
  store::Scratch scratch_;
  std::string body_;
};

TEST_F(PeerServerTest, GivesWholePiecesOfCompleteAndGrowingBlobs) {
  TestNode node(authority_, registry_);
  const auto asker = authority_.Issue(scratch_.path());
  auto grown = node.store->Grow(digest_, bytes_.size());
  EXPECT_EQ(Ask(node, asker, digest_, "bytes=0-262143"), 404);
  ASSERT_TRUE(grown->blob->Write(262'144, std::string_view(bytes_).substr(262'144, 262'144)).ok());
  EXPECT_EQ(Ask(node, asker, digest_, "bytes=262144-524287"), 206);
  EXPECT_EQ(body_, bytes_.substr(262'144, 262'144));
  EXPECT_EQ(Ask(node, asker, digest_, "bytes=0-524287"), 404) << "the first one is not here";
  ASSERT_TRUE(grown->blob->Write(0, bytes_).ok());
  ASSERT_EQ(grown->blob->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(Ask(node, asker, digest_, "bytes=0-" + std::to_string(bytes_.size() - 1)), 206);
  EXPECT_EQ(body_, bytes_);
  for (const char* bad :
       {"", "bytes=1-262143", "bytes=0-100", "bytes=0-99999999", "bytes=786432-"}) {
    EXPECT_EQ(Ask(node, asker, digest_, bad), 416) << bad;
  }
  EXPECT_EQ(Ask(node, asker, Digest::Of("else"), "bytes=0-262143"), 404);
  EXPECT_EQ(Ask(node, asker, digest_, "bytes=0-262143", "DELETE"), 501);
}

TEST_F(PeerServerTest, OnlyNodesOfTheClusterGetAnything) {
  TestNode node(authority_, registry_);
  ASSERT_NO_FATAL_FAILURE(Put(*node.store, bytes_));
  TestAuthority foreign;
  EXPECT_EQ(Ask(node, authority_.Issue(scratch_.path()), digest_, "bytes=0-262143"), 206);
  EXPECT_EQ(Ask(node, authority_.Issue(scratch_.path(), "other"), digest_, "bytes=0-262143"), 403);
  EXPECT_EQ(Ask(node, foreign.Issue(scratch_.path()), digest_, "bytes=0-262143"), 0) << body_;
  const auto banned = authority_.Issue(scratch_.path());
  v1::ToNode bans;
  bans.mutable_bans()->add_banned(banned.id);
  node.cluster.OnTracker(bans);
  EXPECT_EQ(Ask(node, banned, digest_, "bytes=0-262143"), 403);
  node.private_blobs.Add(digest_);
  EXPECT_EQ(Ask(node, authority_.Issue(scratch_.path()), digest_, "bytes=0-262143"), 403);
}

TEST_F(PeerServerTest, UploadLimitHoldsOverAllConnections) {
  TestNode node(authority_, registry_, nullptr, {.upload = 2 << 20});
  const std::string bytes = RandomBytes(2 << 20, 8);
  ASSERT_NO_FATAL_FAILURE(Put(*node.store, bytes));
  const auto asker = authority_.Issue(scratch_.path());
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(Ask(node, asker, Digest::Of(bytes), "bytes=0-1048575"), 206);
  EXPECT_EQ(Ask(node, asker, Digest::Of(bytes), "bytes=1048576-2097151"), 206);
  // All but the last chunk and the burst.
  EXPECT_GT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(550));
}

}  // namespace
}  // namespace hearth::p2p
