// Mirror: what containerd's registry clients ask (/v2/, GET and HEAD of manifests and blobs),
// answered from the store, the swarm, or the origin with the caller's own credential.
//
// Tags are resolved at the origin each time. Digests come from the store where the origin lately
// let this very credential read that repository; else the origin is asked first, and its refusal
// with its challenge is what the caller gets. Nothing is cached for a credential longer than
// AccessCache says. While the origin is down, so are its answers: what it let a credential read
// lately is still given to that one, tags only with `serve_stale_tags`. Any thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/timer.h"
#include "net/http_server.h"
#include "oci/registry.h"
#include "p2p/swarm.h"
#include "plugin/access_cache.h"
#include "plugin/blob_body.h"
#include "plugin/manifest_observer.h"
#include "plugin/mirror_path.h"
#include "plugin/seen_blobs.h"
#include "plugin/tag_cache.h"
#include "plugin/tag_observer.h"
#include "store/blob_store.h"

namespace hearth::plugin {

class Mirror final : public TagObserver {
 public:
  struct Options {
    store::BlobStore& blobs;
    p2p::Swarm& swarm;
    oci::Registry& registry;
    TimerQueue& timers;
    ManifestObserver* observer = nullptr;
    std::string default_registry = "docker.io";  // for requests without ns; "" = refuse them
    std::chrono::seconds auth_cache{300};
    bool serve_stale_tags = false;  // node.toml mirror.serve_stale_tags
    std::chrono::milliseconds stall_timeout{10'000};
    std::chrono::milliseconds head_timeout{15'000};
    const Clock& clock = RealClock();
  };
  // All of `options` must outlive this, and this the server that it answers for.
  explicit Mirror(Options options);

  // A request whose path is "/v2" or begins with "/v2/". Blocks for at most some requests to the
  // origin; bodies of blobs are sent without a thread.
  void Handle(net::ServerRequest request, net::HttpServer::Respond respond);

  // What the node itself just read counts for callers too: the tag's meaning, and, where no
  // credential of its own was needed or it is shared, that whoever brings none may read.
  void OnResolved(const oci::Access& origin, const std::string& tag,
                  const oci::Descriptor& target) override;

 private:
  struct Call;
  using Answer = std::optional<net::ServerResponse>;

  net::ServerResponse HandleManifest(const Call& call);
  net::ServerResponse AnswerManifest(const Call& call, const net::HttpResponse& origin);
  // Nothing when the store has no such manifest.
  Answer ManifestFromStore(const Call& call, const Digest& digest);
  // While the origin is down; nothing where there is no answer for this caller.
  Answer OfflineManifest(const Call& call);
  // The origin's own challenge, from memory.
  Answer OfflineChallenge(const Call& call) const;
  void KeepManifest(const Call& call, const std::string& body, const std::string& media_type,
                    const Digest& digest);

  void HandleBlob(Call& call);
  // Whether the caller may have the blob: its size, or the answer that says no.
  std::optional<uint64_t> BlobSize(const Call& call, Answer& refusal);
  void SendBlob(Call& call, std::shared_ptr<store::Blob> blob, std::shared_ptr<p2p::Fetch> share);

  Result<net::HttpResponse> AskOrigin(const Call& call, const std::string& method);

  const Options options_;
  AccessCache access_;
  SeenBlobs seen_;
  TagCache tags_;
};

}  // namespace hearth::plugin
