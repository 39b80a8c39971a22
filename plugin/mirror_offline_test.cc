// What the mirror answers while the origin is down, and with the node's credential.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/image_resolver.h"
#include "plugin/mirror_fixture.h"

namespace hearth::plugin {
namespace {

using testing::HasSubstr;

TEST_F(MirrorTest, StoredImageStaysReadableForADayWhileItsOriginIsDown) {
  StartImage();
  const std::string digest = Digest::Of(manifest_).ToString();
  Get("/v2/app/manifests/v1");
  Get(BlobPath(layer_));
  WaitUntilKept(manifest_);
  origin_.reset();
  clock_.Advance(std::chrono::hours(1));
  const auto get = [&](const std::string& path) { return Get(path).status; };
  EXPECT_EQ(get("/v2/app/manifests/" + digest), 200);
  EXPECT_EQ(get(BlobPath(layer_)), 200);
  EXPECT_EQ(get("/v2/app/manifests/v1"), 503);
  clock_.Advance(std::chrono::hours(24));
  EXPECT_EQ(get("/v2/app/manifests/" + digest), 503);
  EXPECT_EQ(get(BlobPath(layer_)), 503);
}

TEST_F(MirrorTest, StaleTagIsAnsweredForADayWhileItsOriginIsDown) {
  serve_stale_tags_ = true;
  StartImage();
  Get("/v2/app/manifests/v1");
  WaitUntilKept(manifest_);
  Store(layer_);
  origin_.reset();
  clock_.Advance(std::chrono::hours(23));
  for (const char* method : {"HEAD", "GET"}) {
    const auto answer = Get("/v2/app/manifests/v1", {}, method);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), Digest::Of(manifest_).ToString());
    EXPECT_EQ(answer.headers.Get("Content-Length"), std::to_string(manifest_.size()));
    EXPECT_THAT(std::string(answer.headers.Get("Warning")), HasSubstr("110"));
  }
  EXPECT_EQ(Get(BlobPath(layer_)).body, layer_);
  EXPECT_EQ(Get("/v2/app/manifests/v2").status, 503);
  EXPECT_EQ(Get("/v2/other/manifests/v1").status, 503);
  // A credential of which the origin has not said that it may read.
  EXPECT_EQ(Get("/v2/app/manifests/v1", {{"Authorization", "Bearer x"}}).status, 503);
  clock_.Advance(std::chrono::hours(1));
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 503);
}

TEST_F(MirrorTest, OriginThatAnswersIsNotDown) {
  serve_stale_tags_ = true;
  int status = 200;
  Start([&](const Request&) { return status == 200 ? oci::ManifestReply() : StatusReply(status); });
  Get("/v2/app/manifests/v1");
  WaitUntilKept(std::string(oci::kManifestText));
  for (const auto& [from, to] :
       {std::pair{500, 200}, {502, 200}, {429, 503}, {404, 404}, {500, 503}, {200, 200}}) {
    status = from;
    EXPECT_EQ(Get("/v2/app/manifests/v1").status, to) << from;
  }
  for (const auto& [from, to] : {std::pair{500, 200}, {403, 403}, {500, 503}}) {
    status = from;
    EXPECT_EQ(Get("/v2/app/manifests/v1").status, to) << from;
  }
}

TEST_F(MirrorTest, BasicCredentialIsAskedForWhileTheOriginIsDown) {
  serve_stale_tags_ = true;
  const std::string basic = "Basic realm=\"r\"";
  StartImage("Basic good", basic);
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 401);
  EXPECT_EQ(Get("/v2/app/manifests/v1", {{"Authorization", "Basic good"}}).status, 200);
  WaitUntilKept(manifest_);
  Store(layer_);
  origin_.reset();
  clock_.Advance(std::chrono::hours(1));
  for (const std::string& path : {std::string("/v2/app/manifests/v1"), BlobPath(layer_)}) {
    const auto refused = Get(path);
    EXPECT_EQ(refused.status, 401);
    EXPECT_EQ(refused.headers.Get("WWW-Authenticate"), basic);
    EXPECT_EQ(Get(path, {{"Authorization", "Basic bad"}}).status, 503);
    EXPECT_EQ(Get(path, {{"Authorization", "Basic good"}}).status, 200);
  }
}

TEST_F(MirrorTest, BearerChallengeIsNotAnsweredFromMemory) {
  serve_stale_tags_ = true;
  StartImage("Bearer good");
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 401);
  origin_.reset();
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 503);
}

TEST_F(MirrorTest, SharedCredentialServesWhoeverBringsNone) {
  StartImage("Basic am9lOnMzY3JldA==", "Basic realm=\"r\"");
  Login(*origin_);
  Store(layer_);
  EXPECT_EQ(Get("/v2/app/manifests/v1").status, 401);
  EXPECT_EQ(Get(BlobPath(layer_)).status, 401);
  hosts_[host_].shared = true;
  EXPECT_EQ(Get("/v2/app/manifests/v1").body, manifest_);
  EXPECT_EQ(Get(BlobPath(layer_)).body, layer_);
  EXPECT_EQ(Get(BlobPath(layer_), {{"Authorization", "Basic bad"}}).status, 401);
}

TEST_F(MirrorTest, WhatTheNodeResolvedIsKnownWhileTheOriginIsDown) {
  options_.connect_timeout = milliseconds(500);  // how long a handshake may take that never comes
  serve_stale_tags_ = true;
  StartImage("Basic am9lOnMzY3JldA==", "Basic realm=\"r\"");
  Login(*origin_);
  ImageResolver resolver(*registry_, *store_, &*mirror_);
  const std::string reference = host_ + "/app:v1";
  for (const bool shared : {false, true}) {
    hosts_[host_].shared = shared;
    const auto image = resolver.Resolve(reference, {}, {});
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_TRUE(resolver.Keep(image->target.digest, image->target_bytes, {}).ok());
    hosts_[host_].plain_http = false;  // nobody answers TLS there
    EXPECT_EQ(Get("/v2/app/manifests/v1").status, shared ? 200 : 503);
    hosts_[host_].plain_http = true;
  }
}

}  // namespace
}  // namespace hearth::plugin
