// NativePulls: pulls that we do in containerd's place, begun by a Prepare that names a chain whose
// source we know. The layer asked for and all above it are fetched and unpacked, side by side.
//
// A pull goes on after its caller went away: the retry finds what is done. Any thread; no call
// waits.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/thread.h"
#include "plugin/chain_index.h"
#include "plugin/layer_builder.h"

namespace hearth::plugin {

class NativePulls {
 public:
  struct Options {
    LayerBuilder& builder;
    ChainIndex& chains;
    size_t limit = 64;  // images at once; a further Prepare gets mounts
  };
  explicit NativePulls(Options options) : options_(options) {}

  // The build of layer `candidate.index`; the layers above are begun too. Errors: kUnavailable
  // without an origin, kResourceExhausted at the limit, and those of LayerBuilder::Build.
  Result<std::shared_ptr<LayerBuild>> Start(const std::string& containerd_namespace,
                                            const ChainIndex::Candidate& candidate);

 private:
  struct Pull {
    std::shared_ptr<const ImageLayers> image;
    std::vector<std::shared_ptr<LayerBuild>> builds;
    size_t left = 0;
  };
  void OnLayerEnded(const std::string& key, const std::shared_ptr<Pull>& pull);

  const Options options_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Pull>> pulls_ GUARDED_BY(mutex_);  // by ns + top chain
};

}  // namespace hearth::plugin
