// MirrorTest: for tests, an origin by script, the mirror behind a real server, and a client.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "oci/registry_fixture.h"
#include "plugin/http_stream.h"
#include "plugin/mirror.h"
#include "store/faulty.h"

namespace hearth::plugin {

using oci::Reply;
using oci::Request;
using oci::ScriptedServer;
using oci::StatusReply;
using std::chrono::milliseconds;

inline constexpr char kChallenge[] =
    "Bearer realm=\"https://auth.example.com/token\",service=\"s\"";

class Recorder final : public ManifestObserver {
 public:
  void OnManifest(const SeenManifest& manifest) override { seen.push_back(manifest); }
  std::vector<SeenManifest> seen;
};

class MirrorTest : public oci::RegistryFixture {
 protected:
  void Start(std::function<Reply(const Request&)> script) {
    origin_.emplace(
        [script = std::move(script)](const Request& request, int) { return script(request); });
    options_.max_attempts = 1;
    host_ = origin_->host();
    registry_.emplace(*client_, RealClock(), options_);
    swarm_.emplace(p2p::Swarm::Options{.blobs = *store_, .registry = *registry_});
    mirror_.emplace(Mirror::Options{.blobs = *store_,
                                    .swarm = *swarm_,
                                    .registry = *registry_,
                                    .timers = timers_,
                                    .observer = &observer_,
                                    .serve_stale_tags = serve_stale_tags_,
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
  void StartImage(const std::string& authorization = "",
                  const std::string& challenge = kChallenge) {
    Start([this, authorization, challenge](const Request& request) {
      if (request.Header("Authorization") != authorization) {
        return StatusReply(401, {{"WWW-Authenticate", challenge}});
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
    request.url = "http://" + server_->address() + path + "?ns=" + host_;
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
  bool serve_stale_tags_ = false;
  FakeClock clock_;
  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::BlobStore> store_ =
      std::move(*store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_}));
  TimerQueue timers_;
  Recorder observer_;
  std::optional<ScriptedServer> origin_;
  std::string host_;  // of the origin, also when it is gone
  std::optional<oci::Registry> registry_;
  std::optional<p2p::Swarm> swarm_;
  std::optional<Mirror> mirror_;
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace hearth::plugin
