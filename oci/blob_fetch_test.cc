#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>

#include "oci/registry.h"
#include "oci/registry_fixture.h"

namespace hearth::oci {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

class BlobFetchTest : public RegistryFixture {};

TEST_F(BlobFetchTest, TokenThatExpiredMidwayIsFetchedAgain) {
  const std::string content(1000, 'a');
  std::string host;
  std::atomic<int> tokens = 0;
  ScriptedServer server([&](const Request& r, int) {
    if (r.target.starts_with("/token")) {
      Reply reply;
      reply.body = "{\"access_token\":\"t" + std::to_string(++tokens) + "\"}";
      return reply;
    }
    // The first token is good for one request.
    const std::string wanted = r.Header("Range").empty() ? "Bearer t1" : "Bearer t2";
    if (r.Header("Authorization") != wanted) {
      return StatusReply(401, {{"WWW-Authenticate", "Bearer realm=\"http://" + host + "/token\""}});
    }
    Reply reply = BlobReply(r, content);
    if (wanted == "Bearer t1") reply.cut_after = 400;
    return reply;
  });
  host = server.host();
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = FetchWhole(registry, server, content, sink);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
  EXPECT_EQ(tokens, 2);
}

TEST_F(BlobFetchTest, RedirectDropsTheCredential) {
  const std::string content = "layer bytes";
  ScriptedServer storage([&](const Request& r, int) { return BlobReply(r, content); });
  ScriptedServer server([&](const Request& r, int) {
    if (r.Header("Authorization").empty()) {
      return StatusReply(401, {{"WWW-Authenticate", "Basic realm=\"x\""}});
    }
    return StatusReply(307, {{"Location", storage.url() + "/data?sig=secret"}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
  ASSERT_EQ(storage.requests().size(), 1u);
  EXPECT_EQ(storage.requests()[0].Header("Authorization"), "");
}

TEST_F(BlobFetchTest, ChallengeOfTheStorageBehindARedirectIsNotAnswered) {
  ScriptedServer storage([](const Request&, int) {
    return StatusReply(401, {{"WWW-Authenticate", "Basic realm=\"give\""}});
  });
  ScriptedServer server([&](const Request&, int) {
    return StatusReply(307, {{"Location", storage.url() + "/data?sig=secret"}});
  });
  Login(server);
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("redirected to " + storage.host()));
  EXPECT_THAT(status.message(), Not(HasSubstr("sig=secret")));
  for (const Request& r : storage.requests()) EXPECT_EQ(r.Header("Authorization"), "");
}

TEST_F(BlobFetchTest, RefusalWithoutEndIsReadAsFarAsItIsWanted) {
  ScriptedServer server([](const Request&, int) {
    Reply reply = StatusReply(404);
    reply.body = std::string(1 << 20, 'x');
    reply.cut_after = 100'000;  // to read on would show
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink);
  EXPECT_EQ(status.code(), StatusCode::kNotFound) << status;
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(BlobFetchTest, PasswordInARedirectIsNotShown) {
  ScriptedServer storage([](const Request&, int) { return StatusReply(403); });
  ScriptedServer server([&](const Request&, int) {
    return StatusReply(307, {{"Location", "http://user:hidden@" + storage.host() + "/data"}});
  });
  options_.max_attempts = 1;
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink);
  EXPECT_THAT(status.message(), HasSubstr(storage.host()));
  EXPECT_THAT(status.message(), Not(HasSubstr("hidden")));
}

TEST_F(BlobFetchTest, OriginThatGivesAFewBytesAtATimeIsGivenUp) {
  const std::string content(100'000, 'a');
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.cut_after = 1000;
    return reply;
  });
  options_.least_progress_bytes = 5000;
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_EQ(server.requests().size(), static_cast<size_t>(options_.max_attempts));
}

TEST_F(BlobFetchTest, ShortBodiesResumeWhereTheyEnded) {
  std::string content;
  for (int i = 0; i < 3000; ++i) content += std::to_string(i);
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.cut_after = 1000;  // each time: more attempts than max_attempts, but each brings bytes
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
  EXPECT_EQ(sink.starts, 1);
  EXPECT_EQ(sink.size_bytes, content.size());
  EXPECT_EQ(server.requests().at(1).Header("Range"), "bytes=1000-");
}

TEST_F(BlobFetchTest, RegistryThatIgnoresRangesIsReadFromTheStart) {
  const std::string content = "0123456789";
  ScriptedServer server([&](const Request&, int) {
    Reply reply;
    reply.body = content;
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content), 4, 10}, sink);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, "456789");
  EXPECT_EQ(sink.size_bytes, 10u);
}

TEST_F(BlobFetchTest, ChunkedBodyWithoutLength) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.body = "0123456789";
    reply.chunked = true;
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  ASSERT_TRUE(registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink).ok());
  EXPECT_EQ(sink.bytes, "0123456789");
  EXPECT_EQ(sink.size_bytes, std::nullopt);
}

TEST_F(BlobFetchTest, BodyThatIsTooLongIsCut) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.body = "0123456789";
    reply.chunked = true;
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x"), 0, 8}, sink);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_LE(sink.bytes.size(), 8u);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(BlobFetchTest, WholeBodyThatIsTooShortIsNoBlob) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.body = "01234567";
    reply.chunked = true;
    return reply;
  });
  options_.max_attempts = 2;
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x"), 0, 10}, sink);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("ended after 8 bytes of 10"));
  EXPECT_EQ(sink.bytes, "01234567");
}

TEST_F(BlobFetchTest, AnnouncedSizeThatIsNotTheDescriptorsIsDataLoss) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.body = "0123456789";
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  EXPECT_EQ(registry.FetchBlob(AccessTo(server), {Digest::Of("x"), 0, 8}, sink).code(),
            StatusCode::kDataLoss);
  EXPECT_EQ(sink.starts, 0);
}

TEST_F(BlobFetchTest, SinksErrorEndsTheFetchAsItIs) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.body = "0123456789";
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  sink.error = Unavailable("the disk went away");
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("the disk went away"));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(BlobFetchTest, SilentServerIsGivenUp) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  });
  options_.stall_timeout = milliseconds(500);
  Registry registry = MakeRegistry();
  StringSink sink;
  EXPECT_EQ(registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(server.requests().size(), 1u) << "attempts must not multiply the wait";
}

TEST_F(BlobFetchTest, BodyThatFellSilentIsResumedOnAnotherConnection) {
  const std::string content(100'000, 'a');
  ScriptedServer server([&](const Request& r, int count) {
    Reply reply = BlobReply(r, content);
    if (count == 1) {
      reply.cut_after = 10'000;
      reply.hangs = true;
    }
    return reply;
  });
  options_.stall_timeout = milliseconds(2000);
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[1].Header("Range"), "bytes=10000-");
}

TEST_F(BlobFetchTest, BodyThatFallsSilentEachTimeIsWaitedForOnce) {
  const std::string content(100'000, 'a');
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.cut_after = 1000;
    reply.hangs = true;
    return reply;
  });
  options_.least_progress_bytes = 5000;
  options_.stall_timeout = milliseconds(2000);
  Registry registry = MakeRegistry();
  StringSink sink;
  const auto began = std::chrono::steady_clock::now();
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(status.message(), HasSubstr("no byte"));
  EXPECT_LT(took, milliseconds(6000)) << "half, a quarter, an eighth …: one patience in all";
  EXPECT_GT(server.requests().size(), 1u);
}

TEST_F(BlobFetchTest, BytesEncodedUnderWayAreRefusedBeforeTheFirstOne) {
  const std::string content = "layer bytes";
  ScriptedServer server([&](const Request&, int) {
    Reply reply;
    reply.body = "not what was asked for";
    reply.headers["Content-Encoding"] = "gzip";
    return reply;
  });
  Registry registry = MakeRegistry();
  for (const auto& size : {std::optional<uint64_t>(content.size()), std::optional<uint64_t>()}) {
    StringSink sink;
    const Status status =
        registry.FetchBlob(AccessTo(server), {Digest::Of(content), 0, size}, sink);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
    EXPECT_THAT(status.message(), HasSubstr("Content-Encoding"));
    EXPECT_EQ(sink.bytes, "");
  }
  EXPECT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[0].Header("Accept-Encoding"), "identity");
}

TEST_F(BlobFetchTest, LayerThatItsStorageCallsGzipEncodedComesAsItIs) {
  const std::string content = std::string(kGzippedManifest, sizeof(kGzippedManifest) - 1);
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.headers["Content-Encoding"] = "gzip";
    return reply;
  });
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = FetchWhole(registry, server, content, sink);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
}

TEST_F(BlobFetchTest, TricklingBlobIsGivenUp) {
  const std::string content(100'000, 'a');
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.cut_after = 10'000;
    reply.trickles = true;
    return reply;
  });
  options_.low_speed_bytes = 5000;
  options_.low_speed_window = milliseconds(300);
  options_.stall_timeout = std::chrono::minutes(5);
  Registry registry = MakeRegistry();
  StringSink sink;
  const Status status = registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink);
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(status.message(), HasSubstr("too slow"));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(BlobFetchTest, StopTokenEndsAFetch) {
  std::stop_source stop;
  ScriptedServer server([&](const Request&, int) {
    stop.request_stop();
    Reply reply;
    reply.silent = true;
    return reply;
  });
  options_.stall_timeout = std::chrono::minutes(5);
  Registry registry = MakeRegistry();
  StringSink sink;
  EXPECT_EQ(registry.FetchBlob(AccessTo(server), {Digest::Of("x")}, sink, stop.get_token()).code(),
            StatusCode::kCancelled);
}

TEST_F(BlobFetchTest, EndpointIsAskedFirstAndTheRegistryAfterIt) {
  const std::string content = "layer bytes";
  ScriptedServer origin([&](const Request& r, int) { return BlobReply(r, content); });
  ScriptedServer mirror([](const Request&, int) { return StatusReply(404); });
  hosts_[origin.host()].endpoints = {mirror.url() + "/"};
  Registry registry = MakeRegistry();
  StringSink sink;
  ASSERT_TRUE(registry.FetchBlob(AccessTo(origin), {Digest::Of(content)}, sink).ok());
  EXPECT_EQ(sink.bytes, content);
  ASSERT_EQ(mirror.requests().size(), 1u);
  EXPECT_THAT(mirror.requests()[0].target, HasSubstr("?ns=127.0.0.1%3A"));
  EXPECT_THAT(origin.requests().at(0).target, Not(HasSubstr("?ns=")));
}

TEST_F(BlobFetchTest, ManySilentEndpointsCostLessThanTwo) {
  const std::string content = "layer bytes";
  ScriptedServer origin([&](const Request& r, int) { return BlobReply(r, content); });
  const auto silent = [](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  };
  std::deque<ScriptedServer> mirrors;
  for (int i = 0; i < 8; ++i) {
    mirrors.emplace_back(silent);
    hosts_[origin.host()].endpoints.push_back(mirrors.back().url());
  }
  options_.stall_timeout = std::chrono::milliseconds(1'000);
  Registry registry = MakeRegistry();
  StringSink sink;
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(registry.FetchBlob(AccessTo(origin), {Digest::Of(content)}, sink).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(6'000));
  EXPECT_EQ(sink.bytes, content);
}

TEST_F(BlobFetchTest, BoundedRangeIsAskedForAndResumedWithItsEnd) {
  const std::string content(700'000, 'c');
  ScriptedServer server([&](const Request& request, int count) {
    Reply reply = BlobReply(request, content);
    if (count == 1) reply.cut_after = 300'000;
    return reply;
  });
  auto registry = MakeRegistry();
  StringSink sink;
  const BlobRequest request{.digest = Digest::Of(content),
                            .offset_bytes = 100,
                            .size_bytes = content.size(),
                            .end_bytes = 600'000};
  EXPECT_EQ(registry.FetchBlob(AccessTo(server), request, sink), OkStatus());
  EXPECT_EQ(sink.bytes, content.substr(100, 600'000 - 100));
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[0].Header("Range"), "bytes=100-599999");
  EXPECT_EQ(server.requests()[1].Header("Range"), "bytes=300100-599999");
}

TEST_F(BlobFetchTest, RegistryWithoutRangesIsSaidToHaveNone) {
  const std::string content(700'000, 'c');
  ScriptedServer server([&](const Request&, int) {
    Reply reply;
    reply.body = content;
    return reply;
  });
  auto registry = MakeRegistry();
  StringSink sink;
  const BlobRequest request{
      .digest = Digest::Of(content), .size_bytes = content.size(), .end_bytes = 300'000};
  EXPECT_EQ(registry.FetchBlob(AccessTo(server), request, sink).code(), StatusCode::kUnimplemented);
  EXPECT_EQ(sink.bytes, "");
  EXPECT_EQ(server.requests().size(), 1u);
}

}  // namespace
}  // namespace hearth::oci
