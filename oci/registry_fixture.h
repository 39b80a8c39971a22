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

// kManifestText, compressed.
inline constexpr char kGzippedManifest[] =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x8d\x8f\xcb\x0e\x82\x30\x10\x45\xff\x65"
    "\xb6\x12\xa4\x50\x0a\xf4\x3b\x8c\x1b\xe3\x62\x28\x33\x30\x86\x57\x2c\x21\x41\xc2"
    "\xbf\xdb\xe8\xc6\xa5\xdb\xfb\x38\xb9\x77\x07\xef\x3a\x1a\xf0\x4a\x4f\x2f\xd3\x08"
    "\x36\x8d\x60\xa0\x46\xf0\xb2\xcd\x04\x16\x70\x9e\x7b\x71\xb8\x04\xef\xbc\x8e\x4d"
    "\x3c\x39\x89\x65\xc0\x96\xe2\x01\x47\x61\xf2\x4b\xbc\xaa\xd3\xc3\x87\x6a\x04\x6e"
    "\x1a\x59\x5a\xb0\xfb\x9f\x88\x6f\xfe\x07\xe0\xe5\x45\x9f\x09\x8d\xb4\x01\x1d\xca"
    "\xbe\xc3\x34\x37\x56\x6b\x95\x19\xc6\x2c\xcf\xeb\xcc\x14\x25\x2a\xa5\x0d\x36\xca"
    "\x70\x41\xa5\xd1\x15\x55\x9a\x6b\xcd\x2e\x55\x4c\x45\x90\x32\x95\xb8\xc4\x24\x6c"
    "\x94\x43\x64\x2e\x11\x8e\x08\x7a\xdc\xc2\x49\xb0\xb7\xfb\xf1\x06\x3c\xb7\x6b\x48"
    "\xf6\x00\x00\x00";
// As a proxy that compresses whatever the client asked for sends it.
inline Reply GzippedManifestReply() {
  Reply reply = ManifestReply();
  reply.body = std::string(kGzippedManifest, sizeof(kGzippedManifest) - 1);
  reply.headers["Content-Encoding"] = "gzip";
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
  const std::string end = range.substr(range.find('-') + 1);
  const size_t last = end.empty() ? content.size() - 1 : std::stoul(end);
  reply.status = 206;
  reply.body = content.substr(first, last - first + 1);
  reply.headers["Content-Range"] = "bytes " + std::to_string(first) + "-" + std::to_string(last) +
                                   "/" + std::to_string(content.size());
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
    options_.stall_timeout = std::chrono::seconds(20);
    options_.connect_timeout = std::chrono::seconds(10);
    options_.host = [this](const std::string& domain) -> Result<RegistryHost> {
      const auto found = hosts_.find(domain);  // from several threads
      return found == hosts_.end() ? RegistryHost{} : found->second;
    };
  }

  Registry MakeRegistry() { return Registry(*client_, RealClock(), options_); }
  // All of the blob with these bytes.
  static Status FetchWhole(Registry& registry, const ScriptedServer& server,
                           const std::string& content, BlobSink& sink) {
    return registry.FetchBlob(AccessTo(server), {Digest::Of(content), 0, content.size()}, sink);
  }
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
