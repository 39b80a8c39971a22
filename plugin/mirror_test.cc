#include "plugin/mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/mirror_fixture.h"

namespace hearth::plugin {
namespace {

using testing::HasSubstr;

TEST_F(MirrorTest, AnswersThePingAndRefusesWhatItDoesNot) {
  StartImage();
  EXPECT_EQ(Get("/v2/").status, 200);
  EXPECT_EQ(Get("/v2/app/tags/list").status, 404);
  EXPECT_EQ(Get("/v2/app/blobs/uploads/", {}, "POST").status, 405);
  EXPECT_TRUE(origin_->requests().empty());
}

TEST_F(MirrorTest, TagIsResolvedAtTheOriginEachTimeAndItsManifestKept) {
  StartImage();
  const std::string digest = Digest::Of(manifest_).ToString();
  for (int i = 1; i <= 2; ++i) {
    const auto answer = Get("/v2/app/manifests/v1", {{"Accept", "application/x"}});
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, manifest_);
    EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), digest);
    EXPECT_EQ(answer.headers.Get("Content-Type"), "application/vnd.oci.image.manifest.v1+json");
    EXPECT_EQ(Count("GET", "/v2/app/manifests/v1"), i);
  }
  EXPECT_EQ(origin_->requests()[0].Header("Accept"), "application/x");
  ASSERT_EQ(observer_.seen.size(), 2u);
  EXPECT_EQ(observer_.seen[0].registry, origin_->host());
  EXPECT_EQ(observer_.seen[0].repository, "app");
  EXPECT_EQ(observer_.seen[0].digest.ToString(), digest);
  EXPECT_EQ(observer_.seen[0].body, manifest_);

  WaitUntilKept(manifest_);
  const auto again = Get("/v2/app/manifests/" + digest);
  EXPECT_EQ(again.body, manifest_);
  EXPECT_EQ(again.headers.Get("Content-Type"), "application/vnd.oci.image.manifest.v1+json");
  const auto head = Get("/v2/app/manifests/" + digest, {}, "HEAD");
  EXPECT_EQ(head.headers.Get("Content-Length"), std::to_string(manifest_.size()));
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(Count("GET", "/v2/app/manifests/" + digest), 0);
}

TEST_F(MirrorTest, ChallengeReachesTheCallerAndHisCredentialTheOrigin) {
  StartImage("Bearer good");
  const auto refused = Get("/v2/app/manifests/v1", {}, "HEAD");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.headers.Get("WWW-Authenticate"), kChallenge);
  const auto accepted = Get("/v2/app/manifests/v1", {{"Authorization", "Bearer good"}}, "HEAD");
  EXPECT_EQ(accepted.status, 200);
  EXPECT_EQ(accepted.headers.Get("Content-Length"), std::to_string(manifest_.size()));
  EXPECT_EQ(accepted.headers.Get("Docker-Content-Digest"), Digest::Of(manifest_).ToString());
}

TEST_F(MirrorTest, StoredBlobIsOnlyForCredentialsThatTheOriginAccepts) {
  StartImage("Bearer good");
  Store(layer_);
  EXPECT_EQ(Get(BlobPath(layer_)).status, 401);
  EXPECT_EQ(Get(BlobPath(layer_), {{"Authorization", "Bearer bad"}}).status, 401);
  EXPECT_EQ(Get(BlobPath(layer_), {{"Authorization", "Bearer good"}}).body, layer_);
  const size_t asked = origin_->requests().size();
  EXPECT_EQ(Get(BlobPath(layer_), {{"Authorization", "Bearer good"}}).status, 200);
  EXPECT_EQ(origin_->requests().size(), asked);
  EXPECT_EQ(Get(BlobPath(layer_)).status, 401);
  clock_.Advance(std::chrono::minutes(5));
  EXPECT_EQ(Get(BlobPath(layer_), {{"Authorization", "Bearer good"}}).status, 200);
  EXPECT_EQ(Count("HEAD", BlobPath(layer_)), 5);
  EXPECT_EQ(Count("GET", BlobPath(layer_)), 0);
}

TEST_F(MirrorTest, ManifestJustReadCountsAsAccessToItsBlobsOnly) {
  StartImage();
  const std::string other = "a blob of another repository";
  Store(layer_);
  Store(other);
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 200);
  EXPECT_EQ(Get(BlobPath(layer_)).body, layer_);
  EXPECT_EQ(Count("HEAD", BlobPath(layer_)), 0);
  EXPECT_EQ(Get(BlobPath(other)).status, 404);
}

TEST_F(MirrorTest, MissingBlobComesThroughTheSwarmOnce) {
  StartImage();
  Get("/v2/app/manifests/v1");
  for (int i = 0; i < 2; ++i) {
    const auto answer = Get(BlobPath(layer_), {{"Accept-Encoding", "gzip, zstd"}});
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, layer_);
    EXPECT_EQ(answer.headers.Get("Content-Type"), "application/octet-stream");
    EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), Digest::Of(layer_).ToString());
    EXPECT_EQ(answer.headers.Get("Accept-Ranges"), "bytes");
    EXPECT_FALSE(answer.headers.Has("Content-Encoding"));
  }
  EXPECT_EQ(Count("GET", BlobPath(layer_)), 1);
  EXPECT_TRUE(store_->Info(Digest::Of(layer_)).ok());
}

TEST_F(MirrorTest, RangesAndConditionsOfAStoredBlob) {
  StartImage();
  Store(layer_);
  const auto part = Get(BlobPath(layer_), {{"Range", "bytes=600000-"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "ayer");
  EXPECT_EQ(part.headers.Get("Content-Range"), "bytes 600000-600003/600004");
  EXPECT_EQ(Get(BlobPath(layer_), {{"Range", "bytes=600001-600002"}}).body, "ye");
  EXPECT_EQ(Get(BlobPath(layer_), {{"Range", "bytes=600004-"}}).status, 416);
  EXPECT_EQ(Get(BlobPath(layer_), {{"Range", "bytes=1-"}, {"If-Range", "\"x\""}}).status, 200);
  const std::string etag(part.headers.Get("ETag"));
  EXPECT_EQ(Get(BlobPath(layer_), {{"Range", "bytes=1-"}, {"If-Range", etag}}).status, 206);
  const auto unchanged = Get(BlobPath(layer_), {{"If-None-Match", etag}});
  EXPECT_EQ(unchanged.status, 304);
  EXPECT_EQ(unchanged.body, "");
}

TEST_F(MirrorTest, HeadOfABlobFetchesNothing) {
  StartImage();
  for (const bool stored : {false, true}) {
    if (stored) Store(layer_);
    const auto head = Get(BlobPath(layer_), {}, "HEAD");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.Get("Content-Length"), std::to_string(layer_.size()));
    EXPECT_EQ(head.body, "");
  }
  EXPECT_EQ(Count("GET", BlobPath(layer_)), 0);
}

TEST_F(MirrorTest, GrowingBlobIsSentBeforeItIsComplete) {
  StartImage();
  const auto blob = Grow(layer_);
  ASSERT_TRUE(blob->Write(0, std::string_view(layer_).substr(0, 1000)).ok());
  auto stream = HttpStream::Open(*client_, To(BlobPath(layer_), {{"Range", "bytes=10-"}}), {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->head().status, 206);
  std::string got = ReadSome(**stream, 990);
  EXPECT_EQ(got, layer_.substr(10, 990));
  ASSERT_TRUE(blob->Write(1000, std::string_view(layer_).substr(1000)).ok());
  got += ReadSome(**stream, layer_.size());
  EXPECT_EQ(got, layer_.substr(10));
}

TEST_F(MirrorTest, FailureInMidBodyIsATruncatedBody) {
  StartImage();
  const auto blob = Grow(layer_);
  ASSERT_TRUE(blob->Write(0, std::string_view(layer_).substr(0, 1000)).ok());
  auto stream = HttpStream::Open(*client_, To(BlobPath(layer_)), {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  ReadSome(**stream, 1000);
  blob->Fail(Unavailable("the origin went away"));
  Status error;
  EXPECT_EQ(ReadSome(**stream, layer_.size(), &error), "");
  EXPECT_EQ(error.code(), StatusCode::kUnavailable) << error;
}

TEST_F(MirrorTest, WrongBytesNeverMakeAWholeBody) {
  StartImage();
  const auto blob = Grow(layer_);
  const std::string wrong(layer_.size(), 'w');
  ASSERT_TRUE(blob->Write(0, std::string_view(wrong).substr(0, 1000)).ok());
  auto stream = HttpStream::Open(*client_, To(BlobPath(layer_)), {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  ASSERT_TRUE(blob->Write(1000, std::string_view(wrong).substr(1000)).ok());
  Status error;
  EXPECT_LT(ReadSome(**stream, layer_.size(), &error).size(), layer_.size());
  EXPECT_EQ(error.code(), StatusCode::kUnavailable) << error;
}

TEST_F(MirrorTest, FailureBeforeTheFirstByteSendsTheClientToTheOrigin) {
  Start([this](const Request& request) {
    if (request.method == "HEAD") return oci::BlobReply(request, layer_);
    return StatusReply(500);
  });
  const auto answer = Get(BlobPath(layer_));
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr("errors"));
}

TEST_F(MirrorTest, SilenceEndsTheRequest) {
  stall_timeout_ = milliseconds(100);
  StartImage();
  const auto blob = Grow(layer_);
  EXPECT_EQ(Get(BlobPath(layer_)).status, 503);
  ASSERT_TRUE(blob->Write(0, std::string_view(layer_).substr(0, 1000)).ok());
  auto stream = HttpStream::Open(*client_, To(BlobPath(layer_)), {});
  ASSERT_TRUE(stream.ok()) << stream.status();
  Status error;
  EXPECT_EQ(ReadSome(**stream, layer_.size(), &error).size(), 1000u);
  EXPECT_EQ(error.code(), StatusCode::kUnavailable) << error;
  blob->Fail(Cancelled("the test ends"));
}

TEST_F(MirrorTest, WrongManifestIsNeitherPassedNorKept) {
  const std::string other = "another manifest";
  Start([&](const Request&) {
    Reply reply;
    reply.body = manifest_;
    reply.headers["Content-Type"] = "application/vnd.oci.image.manifest.v1+json";
    reply.headers["Docker-Content-Digest"] = Digest::Of(other).ToString();
    return reply;
  });
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 503);
  EXPECT_EQ(Get("/v2/app/manifests/" + Digest::Of(other).ToString()).status, 503);
  EXPECT_TRUE(observer_.seen.empty());
  EXPECT_EQ(store_->FindGrowing(Digest::Of(manifest_)), nullptr);
  EXPECT_FALSE(store_->Info(Digest::Of(manifest_)).ok());
}

TEST_F(MirrorTest, ManifestThatAProxyCompressedIsPassedOnAsItIs) {
  Start([](const Request&) { return oci::GzippedManifestReply(); });
  const auto answer = Get("/v2/app/manifests/v1", {{"Accept-Encoding", "gzip"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, oci::kManifestText);
  EXPECT_FALSE(answer.headers.Has("Content-Encoding"));
  EXPECT_EQ(answer.headers.Get("Content-Length"), std::to_string(oci::kManifestText.size()));
  WaitUntilKept(std::string(oci::kManifestText));
}

TEST_F(MirrorTest, HeadOfAManifestThatAProxyCompressesSaysItsRealSize) {
  Start([](const Request&) { return oci::GzippedManifestReply(); });
  const auto answer = Get("/v2/app/manifests/v1", {}, "HEAD");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.Get("Content-Length"), std::to_string(oci::kManifestText.size()));
  EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), Digest::Of(oci::kManifestText).ToString());
}

TEST_F(MirrorTest, OriginsTroubleBecomes404Or503) {
  int status = 0;
  Start([&](const Request&) { return StatusReply(status); });
  for (const auto& [from, to] : {std::pair{404, 404}, {403, 403}, {429, 503}, {500, 503}}) {
    status = from;
    EXPECT_EQ(Get("/v2/app/manifests/v1").status, to);
    EXPECT_EQ(Get(BlobPath(layer_)).status, to);
  }
}

}  // namespace
}  // namespace hearth::plugin
