// Explainer: would a pull of this image hit here, and if not, what is missing and why.
//
// Asks the origin what a tag means now; changes nothing. Any thread; blocks on the network.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "oci/platform.h"
#include "p2p/blob_sources.h"
#include "p2p/swarm.h"
#include "plugin/image_resolver.h"
#include "plugin/preheat.h"
#include "plugin/registrar.h"
#include "store/store.h"

namespace hearth::plugin {

struct BlobExplanation {
  Digest digest;
  std::string kind;  // "index", "manifest", "config", "layer"
  uint64_t size_bytes = 0;
  uint64_t present_bytes = 0;
  bool complete = false;
  bool claimed = false;
  bool preheated = false;
  std::optional<WallTime> pinned_until;
  std::string reason;                     // why not complete; "" when it is
  std::vector<p2p::SourceBytes> sources;  // most bytes first; empty where it came long ago
};

struct LayerExplanation {
  Digest chain;
  Digest diff_id;
  Digest blob;
  bool unpacked = false;
  bool preheated = false;
  std::optional<WallTime> pinned_until;
  std::string reason;  // why not unpacked; "" when it is
};

struct Explanation {
  std::string reference;  // in full
  Digest digest;
  std::string platform;
  std::optional<Depth> depth;        // how warm; nullopt = not at all
  bool registered = false;           // containerd has the image under this name
  bool warm = false;                 // a pull moves no blob and unpacks nothing
  std::vector<std::string> reasons;  // why not warm
  std::vector<BlobExplanation> blobs;
  std::vector<LayerExplanation> layers;
};

class Explainer {
 public:
  struct Options {
    store::Store& store;
    ImageResolver& resolver;
    const p2p::Swarm& swarm;
    Registrar* registrar = nullptr;  // null = no containerd is configured
  };
  explicit Explainer(Options options) : options_(options) {}

  // Errors as ImageResolver::Resolve.
  Result<Explanation> Explain(const std::string& reference,
                              const std::optional<oci::Platform>& platform, std::stop_token stop);

 private:
  BlobExplanation ExplainBlob(const std::string& kind, const Digest& digest, uint64_t size_bytes);
  LayerExplanation ExplainLayer(const ImageLayer& layer);

  const Options options_;
};

}  // namespace hearth::plugin
