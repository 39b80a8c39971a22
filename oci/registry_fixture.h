// RegistryFixture: for tests, a registry client with short waits, and answers of a registry.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "oci/registry.h"
#include "oci/scripted_server.h"

namespace hearth::oci {

class StringSink final : public BlobSink {
 public:
  Status OnStart(std::optional<uint64_t> total) override {
    ++starts;
    size_bytes = total;
    return OkStatus();
  }
  Status OnData(std::string_view data) override {
    bytes += data;
    return error;
  }
  int starts = 0;
  std::optional<uint64_t> size_bytes;
  std::string bytes;
  Status error;
};

inline constexpr std::string_view kManifestText =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
    R"("config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":)"
    R"("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]})";

inline Reply ManifestReply() {
  Reply reply;
  reply.body = kManifestText;
  reply.headers["Content-Type"] = "application/vnd.oci.image.manifest.v1+json";
  reply.headers["Docker-Content-Digest"] = Digest::Of(kManifestText).ToString();
  return reply;
}

// Serves `content` with ranges.
inline Reply BlobReply(const Request& request, const std::string& content) {
  Reply reply;
  const std::string range = request.Header("Range");
  if (range.empty()) {
    reply.body = content;
    return reply;
  }
  const size_t first = std::stoul(range.substr(6));
  reply.status = 206;
  reply.body = content.substr(first);
  reply.headers["Content-Range"] = "bytes " + std::to_string(first) + "-" +
                                   std::to_string(content.size() - 1) + "/" +
                                   std::to_string(content.size());
  return reply;
}

inline Reply StatusReply(int status, std::map<std::string, std::string> headers = {}) {
  Reply reply;
  reply.status = status;
  reply.headers = std::move(headers);
  return reply;
}

class RegistryFixture : public testing::Test {
 protected:
  RegistryFixture() : client_(*net::HttpClient::Create({})) {
    options_.least_progress_bytes = 1;
    options_.first_backoff = std::chrono::milliseconds(1);
    options_.max_backoff = std::chrono::milliseconds(4);
    options_.stall_timeout = std::chrono::milliseconds(800);
    options_.connect_timeout = std::chrono::milliseconds(1000);
    options_.host = [this](const std::string& domain) -> Result<RegistryHost> {
      return hosts_[domain];
    };
  }

  Registry MakeRegistry() { return Registry(*client_, RealClock(), options_); }
  static Access AccessTo(const ScriptedServer& server) {
    return Access{server.host(), "library/nginx", Secret<std::string>()};
  }
  void Login(const ScriptedServer& server) {
    hosts_[server.host()].credential = {"joe", Secret<std::string>("s3cret"), {}};
  }

  std::unique_ptr<net::HttpClient> client_;
  Registry::Options options_;
  std::map<std::string, RegistryHost> hosts_;
};

}  // namespace hearth::oci
