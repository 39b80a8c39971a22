// Registrar: makes containerd know what we hold: images (depth `image`), and the layer blobs of
// pulls that we did in its place. Uses containerd's own API, never from inside one of its calls.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"
#include "plugin/handback_client.h"
#include "plugin/image_resolver.h"
#include "store/store.h"

namespace hearth::plugin {

class Registrar {
 public:
  struct Options {
    ContainerdClient& containerd;
    HandbackClient& bytes;  // for a containerd whose content is in a store of its own
    store::BlobStore& blobs;
    std::string containerd_namespace = "k8s.io";
    std::string snapshotter = "hearth";
    size_t queue_limit = 4096;  // adoptions that wait
    // After containerd asked for a blob's bytes, others are not tried for so long: its content is
    // elsewhere until somebody changes its configuration, or it was this one blob's size.
    std::chrono::milliseconds elsewhere_pause{60'000};
  };
  explicit Registrar(Options options);
  ~Registrar();

  // Whether containerd runs with our snapshotter.
  Result<bool> SnapshotterLoaded() {
    return options_.containerd.HasPlugin("io.containerd.snapshotter.v1", options_.snapshotter);
  }
  // True when containerd has the image under that name, with all its documents, and (of each
  // element of `images`) the snapshot of its top layer.
  Result<bool> IsRegistered(const ResolvedImage& image, const std::vector<ImageLayers>& images);
  // Adopts documents, configs and layers, then snapshots, then makes or moves the image record.
  // Everything must be in our store already; where containerd has another one, that gets the bytes,
  // since CRI lists no image after a restart whose blobs are missing. A lease guards it all until
  // the record exists.
  Status Register(const ResolvedImage& image, const std::vector<ImageLayers>& images,
                  std::stop_token stop);
  // Adopts the blob of a layer that containerd did not fetch itself, so that check, export and push
  // find it; `adopted` is called once, however that ends, from any thread. Returns at once.
  void AdoptBlob(const std::string& containerd_namespace, const store::LayerInfo& layer,
                 std::function<void()> adopted);
  // Ends calls under way (the client's too), drops what waits and joins. Idempotent.
  void Stop();

 private:
  Result<bool> AskIfRegistered(const ResolvedImage& image, const std::vector<ImageLayers>& images);
  Status AdoptDocuments(const ResolvedImage& image, const std::vector<ImageLayers>& images,
                        const std::string& lease, const std::stop_token& stop);
  Status AdoptOrWrite(const std::string& lease, const ContentToAdopt& content,
                      const std::stop_token& stop);
  Status AdoptSnapshots(const ImageLayers& image, const std::string& lease);

  Status AdoptNow(const std::string& containerd_namespace, const Digest& digest,
                  const Digest& diff_id);
  // The lease that guards adopted blobs until the pull under way has labelled its manifest; made
  // anew before it expires. Of the worker.
  Result<std::string> LeaseFor(const std::string& containerd_namespace);

  const Options options_;
  std::stop_source stop_;
  // Of the worker.
  std::map<std::string, std::pair<std::string, SteadyTime>> leases_;
  SteadyTime elsewhere_until_{};
  ThreadPool worker_;
};

}  // namespace hearth::plugin
