#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/registry_fixture.h"

namespace hearth::oci {
namespace {

using testing::HasSubstr;

constexpr char kChallenge[] = "Basic realm=\"r\"";
constexpr char kJoe[] = "Basic am9lOnMzY3JldA==";  // joe:s3cret

class ForwardTest : public RegistryFixture {
 protected:
  static Registry::ForwardRequest To(const ScriptedServer& server,
                                     const std::string& authorization = "") {
    Registry::ForwardRequest request;
    request.access = AccessTo(server);
    request.access.authorization = Secret(authorization);
    request.path = "manifests/1";
    return request;
  }
  // Needs joe's credential.
  static Reply Private(const Request& request, int) {
    if (request.Header("Authorization") == kJoe) return ManifestReply();
    return StatusReply(401, {{"WWW-Authenticate", kChallenge}});
  }
  int StatusOf(const Registry::ForwardRequest& request) {
    Registry registry = MakeRegistry();
    const auto answer = registry.Forward(request);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? answer->status : 0;
  }
};

TEST_F(ForwardTest, ChallengeComesBackAndOnlyKnownHeadersGoOn) {
  ScriptedServer server([](const Request&, int) {
    return StatusReply(401, {{"WWW-Authenticate", kChallenge}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  auto request = To(server, "Bearer mine");
  request.headers = {{"Cookie", "no"}, {"Accept", "a/b"}};
  const auto answer = registry.Forward(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 401);
  EXPECT_EQ(answer->headers.Get("WWW-Authenticate"), kChallenge);
  ASSERT_EQ(server.requests().size(), 1u);
  const Request sent = server.requests()[0];
  EXPECT_EQ(sent.target, "/v2/library/nginx/manifests/1");
  EXPECT_EQ(sent.Header("Authorization"), "Bearer mine");
  EXPECT_EQ(sent.Header("Accept"), "a/b");
  EXPECT_EQ(sent.Header("Cookie"), "");
}

TEST_F(ForwardTest, NodesCredentialIsForOthersOnlyWhereItIsShared) {
  ScriptedServer server(Private);
  Login(server);
  EXPECT_EQ(StatusOf(To(server)), 401);
  EXPECT_EQ(server.requests().size(), 1u);
  hosts_[server.host()].shared = true;
  EXPECT_EQ(StatusOf(To(server)), 200);
  // Who brings his own is judged by it.
  EXPECT_EQ(StatusOf(To(server, "Basic d3Jvbmc6")), 401);
  hosts_[server.host()].credential = {};
  EXPECT_EQ(StatusOf(To(server)), 401);
}

TEST_F(ForwardTest, EndpointsAreAskedFirstWithoutTheCallersHeader) {
  ScriptedServer origin([](const Request&, int) { return StatusReply(404); });
  ScriptedServer endpoint([](const Request&, int) { return ManifestReply(); });
  hosts_[origin.host()].endpoints = {endpoint.url() + "/sub/"};
  EXPECT_EQ(StatusOf(To(origin)), 200);
  EXPECT_THAT(endpoint.requests().at(0).target,
              HasSubstr("/sub/v2/library/nginx/manifests/1?ns=127.0.0.1%3A"));
  EXPECT_TRUE(origin.requests().empty());
  // Only the registry itself can judge a credential.
  EXPECT_EQ(StatusOf(To(origin, "Bearer mine")), 404);
  EXPECT_EQ(endpoint.requests().size(), 1u);
}

TEST_F(ForwardTest, EndpointsRefusalIsNotTheRegistrys) {
  ScriptedServer origin(Private);
  for (const int status : {401, 403, 404, 429, 500}) {
    ScriptedServer endpoint([status](const Request&, int) {
      return StatusReply(status, {{"WWW-Authenticate", "Bearer realm=\"http://evil/\""}});
    });
    hosts_[origin.host()].endpoints = {endpoint.url()};
    Registry registry = MakeRegistry();
    const auto answer = registry.Forward(To(origin));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->status, 401);
    EXPECT_EQ(answer->headers.Get("WWW-Authenticate"), kChallenge);
    EXPECT_EQ(endpoint.requests().size(), 1u);
  }
}

TEST_F(ForwardTest, EndpointsOwnTableSaysWhetherItsCredentialIsShared) {
  ScriptedServer origin(Private);
  ScriptedServer endpoint(Private);
  hosts_[origin.host()].endpoints = {endpoint.url()};
  Login(endpoint);
  EXPECT_EQ(StatusOf(To(origin)), 401);
  hosts_[endpoint.host()].shared = true;
  EXPECT_EQ(StatusOf(To(origin)), 200);
}

TEST_F(ForwardTest, SilentEndpointIsNotWaitedForAgain) {
  ScriptedServer origin([](const Request&, int) { return ManifestReply(); });
  ScriptedServer endpoint([](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  });
  hosts_[origin.host()].endpoints = {endpoint.url()};
  options_.stall_timeout = std::chrono::seconds(1);
  Registry registry = MakeRegistry();
  for (int i = 1; i <= 3; ++i) {
    const auto answer = registry.Forward(To(origin));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(origin.requests().size(), static_cast<size_t>(i));
  }
  EXPECT_EQ(endpoint.requests().size(), 1u);
}

TEST_F(ForwardTest, SilentEndpointDoesNotDelayTheChallenge) {
  ScriptedServer origin(Private);
  ScriptedServer endpoint([](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  });
  hosts_[origin.host()].endpoints = {endpoint.url()};
  options_.stall_timeout = std::chrono::seconds(1);
  Registry registry = MakeRegistry();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(registry.Forward(To(origin))->status, 401);
  EXPECT_EQ(endpoint.requests().size(), 1u);
}

TEST_F(ForwardTest, EndpointsGiveABlobToACallerWhomTheRegistryAccepted) {
  const std::string content = "layer bytes";
  ScriptedServer origin([](const Request&, int) { return StatusReply(404); });
  ScriptedServer endpoint([&](const Request& r, int) { return BlobReply(r, content); });
  hosts_[origin.host()].endpoints = {endpoint.url()};
  Registry registry = MakeRegistry();
  Access access = AccessTo(origin);
  access.authorization = Secret<std::string>("Bearer mine");
  StringSink sink;
  ASSERT_TRUE(registry.FetchBlob(access, {Digest::Of(content)}, sink).ok());
  EXPECT_EQ(sink.bytes, content);
  EXPECT_EQ(endpoint.requests().at(0).Header("Authorization"), "");
  EXPECT_EQ(registry.GetManifest(access, "1").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(endpoint.requests().size(), 1u);
}

TEST_F(ForwardTest, WhatStorageBehindTheRegistryRefusesIsNoVerdict) {
  ScriptedServer storage([](const Request&, int) { return StatusReply(403); });
  ScriptedServer origin([&](const Request&, int) {
    return StatusReply(307, {{"Location", storage.url() + "/signed"}});
  });
  Registry registry = MakeRegistry();
  EXPECT_EQ(registry.Forward(To(origin)).status().code(), StatusCode::kUnavailable);
}

}  // namespace
}  // namespace hearth::oci
