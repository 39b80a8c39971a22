// Preheater: makes an image warm on this node before anybody pulls it.
//
// Any thread; Run blocks until the image is as warm as asked, failed or was cancelled. What it
// fetched stays, so that the next run goes on from there.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "oci/platform.h"
#include "plugin/chain_index.h"
#include "plugin/image_resolver.h"
#include "plugin/layer_builder.h"
#include "plugin/registrar.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

enum class Depth : uint8_t { kBlobs, kLayers, kImage };

// "blobs", "layers", "image".
Result<Depth> ParseDepth(std::string_view name);
std::string_view DepthName(Depth depth);

struct PreheatRequest {
  std::string reference;
  Depth depth = Depth::kImage;
  // Nobody asked for it: an image becomes blobs where containerd unpacks with a snapshotter of its
  // own, which layers of ours would not help.
  bool is_default_depth = false;
  std::vector<oci::Platform> platforms;     // empty = this machine's
  std::optional<std::chrono::seconds> pin;  // kept at least so long
  ImageLogin login = {};                    // {} = the node's own
  bool look_only = false;                   // say what is missing; only manifests are fetched
};

struct LayerProgress {
  Digest digest;
  uint64_t size_bytes = 0;
  uint64_t fetched_bytes = 0;
  BuildPhase phase = BuildPhase::kWaiting;
};

struct PreheatProgress {
  Digest digest;  // of the image
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t peer_bytes = 0;  // of layers, that came since the preheat began
  uint64_t origin_bytes = 0;
  std::vector<LayerProgress> layers;
};

// Something that a preheat made sure of.
struct PreheatCopy {
  Digest digest;
  uint64_t size_bytes = 0;
  bool is_manifest = false;  // or an index
};

struct PreheatResult {
  Digest digest;
  Depth depth = Depth::kImage;
  bool already_warm = false;
  uint64_t bytes_fetched = 0;
  uint64_t bytes_total = 0;
  uint64_t peer_bytes = 0;  // of layers
  uint64_t origin_bytes = 0;
  std::vector<PreheatCopy> copies = {};  // each once, all verified
  // Of `look_only`, at its depth:
  uint64_t bytes_missing = 0;   // of blobs
  uint32_t layers_missing = 0;  // not unpacked
};

class Preheater {
 public:
  struct Options {
    store::Store& store;
    store::Collector& collector;
    ImageResolver& resolver;
    p2p::Swarm& swarm;
    LayerBuilder& builder;
    ChainIndex& chains;
    Registrar* registrar = nullptr;  // null = depth `image` is off
    const Clock& clock = RealClock();
    std::chrono::milliseconds progress_interval{500};
  };
  explicit Preheater(Options options) : options_(options) {}

  // `progress` is called on the caller's thread, first when the image is resolved, then at each
  // interval. kFailedPrecondition: depth `image` without a containerd; kResourceExhausted: there is
  // no room and none can be made (`look_only`: could be made); other errors as resolver, swarm,
  // builder and registrar.
  Result<PreheatResult> Run(const PreheatRequest& request,
                            const std::function<void(const PreheatProgress&)>& progress,
                            std::stop_token stop);

 private:
  class Work;
  const Options options_;
};

}  // namespace hearth::plugin
