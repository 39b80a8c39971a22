#include "oci/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "oci/registry_call.h"
#include "oci/registry_fixture.h"

namespace hearth::oci {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

class RegistryTest : public RegistryFixture {};

// The bearer flow of the distribution specification; `token_server` is the server itself.
Reply BearerScript(const Request& request, const std::string& host, const std::string& token) {
  if (request.target.starts_with("/token")) {
    Reply reply;
    reply.body = "{\"token\":\"" + token + "\",\"expires_in\":300}";
    return reply;
  }
  if (request.Header("Authorization") != "Bearer " + token) {
    return StatusReply(401,
                       {{"WWW-Authenticate",
                         "Bearer realm=\"http://" + host +
                             "/token\",service=\"reg\",scope=\"repository:library/nginx:pull\""}});
  }
  return ManifestReply();
}

TEST_F(RegistryTest, AnonymousBearerTokenIsFetchedOnceAndKept) {
  std::string host;
  ScriptedServer server([&](const Request& r, int) { return BearerScript(r, host, "t0k"); });
  host = server.host();
  Registry registry = MakeRegistry();
  for (int i = 0; i < 2; ++i) {
    const auto manifest = registry.GetManifest(AccessTo(server), "latest");
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_EQ(manifest->bytes, kManifestText);
    EXPECT_EQ(manifest->digest, Digest::Of(kManifestText));
    EXPECT_EQ(manifest->media_type, "application/vnd.oci.image.manifest.v1+json");
  }
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 4u);  // 401, token, 200, 200
  EXPECT_EQ(requests[0].target, "/v2/library/nginx/manifests/latest");
  EXPECT_EQ(requests[0].Header("Authorization"), "");
  EXPECT_EQ(requests[1].target, "/token?service=reg&scope=repository%3Alibrary%2Fnginx%3Apull");
  EXPECT_EQ(requests[1].Header("Authorization"), "");
  EXPECT_EQ(requests[3].Header("Authorization"), "Bearer t0k");
}

TEST_F(RegistryTest, CredentialGoesToTheTokenServiceOnly) {
  std::string host;
  ScriptedServer server([&](const Request& r, int) { return BearerScript(r, host, "t0k"); });
  host = server.host();
  Login(server);
  Registry registry = MakeRegistry();
  ASSERT_TRUE(registry.HeadManifest(AccessTo(server), "latest").ok());
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[1].Header("Authorization"), "Basic am9lOnMzY3JldA==");
  EXPECT_THAT(requests[1].target, HasSubstr("account=joe"));
  EXPECT_EQ(requests[2].Header("Authorization"), "Bearer t0k");
}

TEST_F(RegistryTest, IdentityTokenIsPostedAsRefreshToken) {
  std::string host;
  ScriptedServer server([&](const Request& r, int) { return BearerScript(r, host, "t0k"); });
  host = server.host();
  hosts_[host].credential.identity_token = Secret<std::string>("r+fresh");
  Registry registry = MakeRegistry();
  ASSERT_TRUE(registry.HeadManifest(AccessTo(server), "latest").ok());
  const Request token = server.requests().at(1);
  EXPECT_EQ(token.method, "POST");
  EXPECT_EQ(token.body,
            "service=reg&scope=repository%3Alibrary%2Fnginx%3Apull&grant_type=refresh_token&"
            "client_id=hearth&refresh_token=r%2Bfresh");
}

TEST_F(RegistryTest, RefusedCredentialSaysWhatToDoAndNotTheSecret) {
  std::string host;
  ScriptedServer server([&](const Request& r, int) {
    return r.target.starts_with("/token") ? StatusReply(401) : BearerScript(r, host, "t0k");
  });
  host = server.host();
  Login(server);
  Registry registry = MakeRegistry();
  const Status status = registry.GetManifest(AccessTo(server), "latest").status();
  EXPECT_EQ(status.code(), StatusCode::kUnauthenticated);
  EXPECT_THAT(status.message(), HasSubstr("library/nginx"));
  EXPECT_THAT(status.message(), HasSubstr("docker_config"));
  EXPECT_THAT(status.message(), Not(HasSubstr("s3cret")));
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(RegistryTest, BasicChallenge) {
  ScriptedServer server([](const Request& r, int) {
    return r.Header("Authorization") == "Basic am9lOnMzY3JldA=="
               ? ManifestReply()
               : StatusReply(401, {{"WWW-Authenticate", "Basic realm=\"x\""}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  const auto head = registry.HeadManifest(AccessTo(server), "latest");
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->digest, Digest::Of(kManifestText));
  EXPECT_EQ(head->size_bytes, kManifestText.size());
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(RegistryTest, WrongBasicCredentialIsNotTriedForever) {
  ScriptedServer server([](const Request&, int) {
    return StatusReply(401, {{"WWW-Authenticate", "Basic realm=\"x\""}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  EXPECT_EQ(registry.HeadManifest(AccessTo(server), "latest").status().code(),
            StatusCode::kUnauthenticated);
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(RegistryTest, CallersAuthorizationIsUsedAsItIs) {
  ScriptedServer server([](const Request&, int) {
    return StatusReply(401, {{"WWW-Authenticate", "Basic realm=\"x\""}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  Access access = AccessTo(server);
  access.authorization = Secret<std::string>("Bearer callers");
  EXPECT_EQ(registry.HeadManifest(access, "latest").status().code(), StatusCode::kUnauthenticated);
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].Header("Authorization"), "Bearer callers");
}

TEST_F(RegistryTest, RealmWithoutTlsIsRefusedByARegistryWithTls) {
  Authorizer authorizer(*client_, RealClock(), {});
  AuthTarget target{"reg.example.com", "s", {"joe", Secret<std::string>("s3cret"), {}}, "", false};
  const auto challenges = ParseChallenges({"Bearer realm=\"http://reg.example.com/token\""});
  const Status status = authorizer.Answer(target, challenges, {}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnauthenticated);
  EXPECT_THAT(status.message(), HasSubstr("without TLS"));
}

TEST_F(RegistryTest, WrongManifestBytesAreDataLoss) {
  ScriptedServer server([](const Request&, int) { return ManifestReply(); });
  Registry registry = MakeRegistry();
  const auto other = Digest::Of("other").ToString();
  EXPECT_EQ(registry.GetManifest(AccessTo(server), other).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(registry.HeadManifest(AccessTo(server), other).status().code(), StatusCode::kDataLoss);
}

TEST_F(RegistryTest, ManifestThatContradictsItsDigestHeaderIsDataLoss) {
  ScriptedServer server([](const Request&, int) {
    Reply reply = ManifestReply();
    reply.headers["Docker-Content-Digest"] = Digest::Of("other").ToString();
    return reply;
  });
  Registry registry = MakeRegistry();
  EXPECT_EQ(registry.GetManifest(AccessTo(server), "latest").status().code(),
            StatusCode::kDataLoss);
}

TEST_F(RegistryTest, HeadWithoutDigestFallsBackToGet) {
  ScriptedServer server([](const Request& r, int) {
    Reply reply = ManifestReply();
    if (r.method == "HEAD") reply.headers.erase("Docker-Content-Digest");
    return reply;
  });
  Registry registry = MakeRegistry();
  const auto head = registry.HeadManifest(AccessTo(server), "latest");
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->size_bytes, kManifestText.size());
  EXPECT_EQ(server.requests().at(1).method, "GET");
}

TEST_F(RegistryTest, ManifestOverTheLimit) {
  ScriptedServer server([](const Request&, int) {
    Reply reply = ManifestReply();
    reply.body.append(4 * 1024 * 1024, ' ');
    return reply;
  });
  Registry registry = MakeRegistry();
  EXPECT_EQ(registry.GetManifest(AccessTo(server), "latest").status().code(),
            StatusCode::kResourceExhausted);
}

TEST_F(RegistryTest, NotFoundIsFinalAndSaysWhat) {
  ScriptedServer server([](const Request&, int) {
    Reply reply = StatusReply(404);
    reply.body = R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag"}]})";
    return reply;
  });
  Registry registry = MakeRegistry();
  const Status status = registry.GetManifest(AccessTo(server), "latest").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("GET library/nginx manifests/latest: HTTP 404"));
  EXPECT_THAT(status.message(), HasSubstr("MANIFEST_UNKNOWN: no such tag"));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(RegistryTest, ForbiddenIsFinal) {
  ScriptedServer server([](const Request&, int) { return StatusReply(403); });
  Registry registry = MakeRegistry();
  EXPECT_EQ(registry.GetManifest(AccessTo(server), "latest").status().code(),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(RegistryTest, RateLimitWaitsAsLongAsTheRegistryAsks) {
  ScriptedServer server([](const Request&, int count) {
    return count == 1 ? StatusReply(429, {{"Retry-After", "1"}}) : ManifestReply();
  });
  options_.max_retry_after = milliseconds(50);
  Registry registry = MakeRegistry();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(registry.GetManifest(AccessTo(server), "latest").ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(50));
  EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(RegistryTest, TroubleIsTriedOnlySoOften) {
  for (const auto& [http_status, code] :
       {std::pair(500, StatusCode::kUnavailable), std::pair(503, StatusCode::kUnavailable),
        std::pair(429, StatusCode::kResourceExhausted)}) {
    ScriptedServer server(
        [status = http_status](const Request&, int) { return StatusReply(status); });
    Registry registry = MakeRegistry();
    EXPECT_EQ(registry.GetManifest(AccessTo(server), "latest").status().code(), code);
    EXPECT_EQ(server.requests().size(), static_cast<size_t>(options_.max_attempts)) << http_status;
  }
}

TEST_F(RegistryTest, GzippedManifestIsDecodedThoughIdentityWasAskedFor) {
  ScriptedServer server([](const Request&, int) { return GzippedManifestReply(); });
  Registry registry = MakeRegistry();
  const auto manifest =
      registry.GetManifest(AccessTo(server), Digest::Of(kManifestText).ToString());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->bytes, kManifestText);
  EXPECT_EQ(server.requests().at(0).Header("Accept-Encoding"), "identity");
}

TEST_F(RegistryTest, LengthOfAGzippedManifestIsNotItsSize) {
  ScriptedServer server([](const Request&, int) { return GzippedManifestReply(); });
  Registry registry = MakeRegistry();
  const auto head = registry.HeadManifest(AccessTo(server), "latest");
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head->size_bytes, kManifestText.size());
  EXPECT_EQ(registry.HeadBlob(AccessTo(server), Digest::Of(kManifestText))->size_bytes,
            std::nullopt);
}

TEST_F(RegistryTest, EncodingThatNobodyKnowsAndBrokenGzipAreRefused) {
  for (const char* coding : {"secret-sauce", "gzip"}) {
    ScriptedServer server([&](const Request&, int) {
      Reply reply = ManifestReply();
      reply.headers["Content-Encoding"] = coding;
      return reply;
    });
    Registry registry = MakeRegistry();
    const Status status = registry.GetManifest(AccessTo(server), "latest").status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  }
}

TEST_F(RegistryTest, TricklingDocumentIsGivenUp) {
  // As a manifest, as a token, and as what the mirror passes on.
  std::string host;
  ScriptedServer server([&](const Request& r, int) {
    if (r.target.starts_with("/v2/library/nginx/manifests/needs-a-token")) {
      return StatusReply(401, {{"WWW-Authenticate", "Bearer realm=\"http://" + host + "/token\""}});
    }
    Reply reply = ManifestReply();
    reply.cut_after = 10;
    reply.trickles = true;
    return reply;
  });
  host = server.host();
  options_.document_timeout = milliseconds(300);
  Registry registry = MakeRegistry();
  for (const char* tag : {"latest", "needs-a-token"}) {
    const Status status = registry.GetManifest(AccessTo(server), tag).status();
    EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
    EXPECT_THAT(status.message(), HasSubstr("300 ms"));
  }
  Registry::ForwardRequest request;
  request.access = AccessTo(server);
  request.path = "manifests/1";
  EXPECT_EQ(registry.Forward(request).status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(RegistryTest, WhatIsNoRegistryIsNotAsked) {
  Registry registry = MakeRegistry();
  for (const char* domain : {"http://x", "a/b", "user@host", "", "host:port", "host?x"}) {
    EXPECT_EQ(registry.HeadManifest({domain, "a", {}}, "latest").status().code(),
              StatusCode::kInvalidArgument)
        << domain;
  }
  EXPECT_EQ(registry.HeadManifest({"h", "../a", {}}, "latest").status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(registry.HeadManifest({"h", "a", {}}, "a/b").status().code(),
            StatusCode::kInvalidArgument);
}

TEST(RetryAfter, SecondsDatesAndNonsense) {
  const WallTime now = FromUnixNanos(1'700'000'000'000'000'000);  // Tue, 14 Nov 2023 22:13:20 GMT
  EXPECT_EQ(ParseRetryAfter("3", now), milliseconds(3000));
  EXPECT_EQ(ParseRetryAfter("Tue, 14 Nov 2023 22:13:25 GMT", now), milliseconds(5000));
  EXPECT_EQ(ParseRetryAfter("Tue, 14 Nov 2023 22:13:00 GMT", now), milliseconds(0));
  EXPECT_GT(ParseRetryAfter("Fri, 31 Dec 9999 23:59:59 GMT", now), milliseconds(0));
  for (const char* text : {"", "soon", "-1", "1.5", "3 s"}) {
    EXPECT_EQ(ParseRetryAfter(text, now), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace hearth::oci
