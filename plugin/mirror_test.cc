#include "plugin/mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "oci/registry_fixture.h"
#include "plugin/http_stream.h"
#include "store/faulty.h"

namespace hearth::plugin {
namespace {

using oci::Reply;
using oci::Request;
using oci::ScriptedServer;
using oci::StatusReply;
using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr char kChallenge[] = "Bearer realm=\"https://auth.example.com/token\",service=\"s\"";

class Recorder final : public ManifestObserver {
 public:
  void OnManifest(const SeenManifest& manifest) override { seen.push_back(manifest); }
  std::vector<SeenManifest> seen;
};

// An origin by script, the mirror behind a real server, and a client.
class MirrorTest : public oci::RegistryFixture {
 protected:
  void Start(std::function<Reply(const Request&)> script) {
    origin_.emplace(
        [script = std::move(script)](const Request& request, int) { return script(request); });
    options_.max_attempts = 1;
    registry_.emplace(*client_, RealClock(), options_);
    swarm_.emplace(p2p::Swarm::Options{.blobs = *store_, .registry = *registry_});
    mirror_.emplace(Mirror::Options{.blobs = *store_,
                                    .swarm = *swarm_,
                                    .registry = *registry_,
                                    .timers = timers_,
                                    .observer = &observer_,
                                    .stall_timeout = stall_timeout_,
                                    .clock = clock_});
    server_ = std::move(*net::HttpServer::Start(
        {.listen = "127.0.0.1:0"}, [this](net::ServerRequest request, auto respond) {
          mirror_->Handle(std::move(request), std::move(respond));
        }));
  }
  void TearDown() override {
    if (swarm_) swarm_->Stop();
    if (server_) server_->Stop(milliseconds(2000));
  }

  // An origin with one image, whose requests all need `authorization` where it is not empty.
  void StartImage(const std::string& authorization = "") {
    Start([this, authorization](const Request& request) {
      if (request.Header("Authorization") != authorization) {
        return StatusReply(401, {{"WWW-Authenticate", kChallenge}});
      }
      const std::string digest = Digest::Of(manifest_).ToString();
      if (request.target == "/v2/app/manifests/v1" ||
          request.target == "/v2/app/manifests/" + digest) {
        Reply reply;
        reply.body = manifest_;
        reply.headers["Content-Type"] = "application/vnd.oci.image.manifest.v1+json";
        reply.headers["Docker-Content-Digest"] = digest;
        return reply;
      }
      if (request.target == "/v2/app/blobs/" + Digest::Of(layer_).ToString()) {
        return oci::BlobReply(request, layer_);
      }
      return StatusReply(404);
    });
  }

  net::HttpRequest To(const std::string& path, net::HttpHeaders headers = {},
                      const std::string& method = "GET") {
    net::HttpRequest request;
    request.method = method;
    request.url = "http://" + server_->address() + path + "?ns=" + origin_->host();
    request.headers = std::move(headers);
    return request;
  }
  net::HttpResponse Get(const std::string& path, net::HttpHeaders headers = {},
                        const std::string& method = "GET") {
    auto response = client_->Fetch(To(path, std::move(headers), method), 64 << 20);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : net::HttpResponse{};
  }
  std::string BlobPath(const std::string& bytes, const std::string& repository = "app") {
    return "/v2/" + repository + "/blobs/" + Digest::Of(bytes).ToString();
  }
  void Store(const std::string& bytes) {
    auto grown = store_->Grow(Digest::Of(bytes), bytes.size());
    ASSERT_TRUE(grown.ok() && grown->writer);
    ASSERT_TRUE(grown->blob->Write(0, bytes).ok());
    ASSERT_TRUE(grown->blob->WaitComplete({}, Deadline::After(std::chrono::seconds(20))).ok());
  }
  // The test itself is the writer, so that the mirror's transfer only joins.
  std::shared_ptr<store::Blob> Grow(const std::string& bytes) {
    auto grown = store_->Grow(Digest::Of(bytes), bytes.size());
    EXPECT_TRUE(grown.ok() && grown->writer) << grown.status();
    return grown->blob;
  }
  void WaitUntilKept(const std::string& bytes) {
    if (const auto growing = store_->FindGrowing(Digest::Of(bytes))) {
      ASSERT_TRUE(growing->WaitComplete({}, Deadline::After(std::chrono::seconds(20))).ok());
    }
    ASSERT_TRUE(store_->Info(Digest::Of(bytes)).ok());
  }
  int Count(const std::string& method, const std::string& target) {
    int count = 0;
    for (const Request& request : origin_->requests()) {
      if (request.method == method && request.target == target) ++count;
    }
    return count;
  }
  // Reads at least `size` bytes, or what comes before an error.
  static std::string ReadSome(HttpStream& stream, size_t size, Status* error = nullptr) {
    std::string all;
    while (all.size() < size) {
      auto data = stream.Read();
      if (!data.ok()) {
        if (error != nullptr) *error = data.status();
        break;
      }
      if (data->empty()) break;
      all += *data;
    }
    return all;
  }

  const std::string layer_ = std::string(600'000, 'l') + "ayer";
  const std::string manifest_ =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)"
      R"({"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
      Digest::Of("{}").ToString() + R"(","size":2},"layers":[{"mediaType":)" +
      R"("application/vnd.oci.image.layer.v1.tar+gzip","digest":")" +
      Digest::Of(layer_).ToString() + R"(","size":)" + std::to_string(layer_.size()) + "}]}";

  milliseconds stall_timeout_{10'000};
  FakeClock clock_;
  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::BlobStore> store_ =
      std::move(*store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_}));
  TimerQueue timers_;
  Recorder observer_;
  std::optional<ScriptedServer> origin_;
  std::optional<oci::Registry> registry_;
  std::optional<p2p::Swarm> swarm_;
  std::optional<Mirror> mirror_;
  std::unique_ptr<net::HttpServer> server_;
};

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

TEST_F(MirrorTest, OriginsTroubleBecomes404Or503) {
  int status = 0;
  Start([&](const Request&) { return StatusReply(status); });
  for (const auto& [from, to] : {std::pair{404, 404}, {403, 403}, {429, 503}, {500, 503}}) {
    status = from;
    EXPECT_EQ(Get("/v2/app/manifests/v1").status, to);
    EXPECT_EQ(Get(BlobPath(layer_)).status, to);
  }
}

TEST_F(MirrorTest, StoredImageStaysReadableForADayWhileItsOriginIsDown) {
  StartImage();
  const std::string digest = Digest::Of(manifest_).ToString();
  Get("/v2/app/manifests/v1");
  Get(BlobPath(layer_));
  WaitUntilKept(manifest_);
  const std::string ns = "?ns=" + origin_->host();
  origin_.reset();
  clock_.Advance(std::chrono::hours(1));
  const auto get = [&](const std::string& path) {
    net::HttpRequest request;
    request.url = "http://" + server_->address() + path + ns;
    return client_->Fetch(request, 64 << 20)->status;
  };
  EXPECT_EQ(get("/v2/app/manifests/" + digest), 200);
  EXPECT_EQ(get(BlobPath(layer_)), 200);
  EXPECT_EQ(get("/v2/app/manifests/v1"), 503);
  clock_.Advance(std::chrono::hours(24));
  EXPECT_EQ(get("/v2/app/manifests/" + digest), 503);
  EXPECT_EQ(get(BlobPath(layer_)), 503);
}

}  // namespace
}  // namespace hearth::plugin
