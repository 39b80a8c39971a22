// Handback: gives containerd's built-in content store and snapshotter what only we hold, so that
// every image works without us. The reverse of Takeover.
//
// First, while containerd still runs with our plugins: what an image has unpacked in our
// snapshotter is unpacked by containerd for the built-in one, and the blobs that containerd's
// metadata names are shared into the built-in store's directory, which nobody else writes to
// meanwhile. Then, once containerd runs without us: what came in between, and our snapshots'
// references go. Every step finds what an earlier run did, so that a run that was cut short is
// repeated. One run at a time; calls block. Never from inside a call of containerd's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"
#include "plugin/handback_client.h"
#include "plugin/inventory_client.h"
#include "plugin/share_blob.h"
#include "store/store.h"

namespace hearth::plugin {

struct BlobGiven {
  Digest digest;
  uint64_t size_bytes = 0;
  SharedBy how = SharedBy::kThere;
};

struct ImageGiven {
  enum class State : uint8_t {
    kUnpacked,    // for the built-in snapshotter
    kToUnpack,    // not yet
    kLeft,        // whole, and containerd unpacks it when it is first used
    kIncomplete,  // not whole with us either
    kFailed,      // works with us, would not without
  };
  std::string containerd_namespace;
  ImageRecord image;
  std::vector<ImageLayers> manifests;
  State state = State::kLeft;
  std::string reason;  // of the last two
  uint64_t unpack_bytes = 0;
  bool lacks_layers = false;  // containerd's metadata has not heard of some that we have
};
const char* NameOf(ImageGiven::State state);

class Handback {
 public:
  struct Options {
    store::Store& store;
    ContainerdClient& containerd;
    InventoryClient& inventory;
    HandbackClient& client;
    std::string snapshotter = "hearth";
    std::string built_in_snapshotter = "overlayfs";
  };
  struct Target {
    std::filesystem::path content_root;  // of the built-in store
    bool content = true;                 // false: containerd's content store was never ours
    bool unpack = true;                  // false: leave it to containerd's first use of an image
  };
  explicit Handback(Options options) : options_(std::move(options)) {}

  // What would be done, nothing is.
  Result<std::vector<ImageGiven>> Survey(const Target& target, const std::stop_token& stop) const;
  // Blobs that containerd knows and that the built-in store lacks.
  Result<std::vector<BlobGiven>> Missing(const Target& target, const std::stop_token& stop) const;
  // kResourceExhausted: the file system of the built-in store has no room for that.
  Status CheckSpace(const Target& target, const std::vector<ImageGiven>& images,
                    const std::vector<BlobGiven>& blobs) const;

  // Unpacks an image of state kToUnpack; its state says how that went. An error is kCancelled, or
  // kUnavailable where containerd went away.
  Status Unpack(ImageGiven& image, const std::stop_token& stop);
  // Makes containerd's metadata have the layers that it lacks, of an image that is not unpacked
  // now. Errors as Unpack().
  Status GiveLayers(ImageGiven& image, const std::stop_token& stop);
  // Shares the missing blobs, each verified. kNotFound: one is in neither store.
  Status GiveBlobs(const Target& target, const std::function<void(const BlobGiven&)>& report,
                   const std::stop_token& stop);
  // Whether containerd runs with our snapshotter.
  Result<bool> Loaded() const {
    return options_.containerd.HasPlugin("io.containerd.snapshotter.v1", options_.snapshotter);
  }
  // Once containerd runs without us: takes our snapshots' references away. With `tell`, CRI hears
  // of each image anew, since it left those out that were not whole at its start.
  Status Release(const std::vector<ImageGiven>& images, bool tell);

 private:
  Status SurveyOne(ImageGiven& image, const Target& target, const std::stop_token& stop) const;
  // Whether the layer's bytes can be read now, or lie in the built-in store.
  Result<bool> Readable(const std::string& ns, const Digest& digest) const;
  // `work` under a lease in the image's namespace; its failure becomes the image's.
  Status WorkOn(ImageGiven& image, const std::stop_token& stop,
                const std::function<Status(const std::string& lease)>& work);
  Status UnpackManifest(const ImageGiven& image, const ImageLayers& manifest,
                        const std::string& lease, const std::stop_token& stop);
  // Makes the namespace have the layer's blob, which it lacks where we pulled in containerd's place
  // and its content store is not ours.
  Status GiveLayer(const std::string& ns, const std::string& lease, const ImageLayer& layer,
                   const std::stop_token& stop);
  Result<BlobGiven> Give(const std::filesystem::path& content_root, const BlobGiven& blob,
                         const std::stop_token& stop);

  const Options options_;
};

}  // namespace hearth::plugin
