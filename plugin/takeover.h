// Takeover: takes over what containerd's built-in content store and images hold, so that they keep
// working when Hearth takes its place.
//
// Blobs first, while the built-in store still serves; then the layers of its images are unpacked
// from them; then, once containerd runs with our snapshotter, its namespaces are told of the
// layers, and the built-in store's names of the blobs go. Every step finds what an earlier run did,
// so that a run that was cut short is repeated. One run at a time; calls block. Never from inside a
// call of containerd's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"
#include "plugin/layer_builder.h"
#include "plugin/share_blob.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

struct BlobTaken {
  Digest digest;
  uint64_t size_bytes = 0;
  SharedBy how = SharedBy::kThere;
};

// Of the file system that our store is on.
struct RoomNeeded {
  uint64_t copy_bytes = 0;    // of blobs that cannot be shared
  uint64_t unpack_bytes = 0;  // of layers
  uint64_t free_bytes = 0;    // what there is
  uint64_t total_bytes() const { return copy_bytes + unpack_bytes; }
};

struct ImageTaken {
  std::string containerd_namespace;
  std::string name;
  size_t layers = 0;
  Status status;  // why it stays with the built-in snapshotter alone
};

class Takeover {
 public:
  struct Options {
    store::Store& store;
    store::Collector& collector;
    LayerBuilder& builder;
    ContainerdClient& containerd;
    std::string snapshotter = "hearth";
    std::string built_in_snapshotter = "overlayfs";
  };
  explicit Takeover(Options options) : options_(std::move(options)) {}

  // Takes every blob below `content_root`/blobs/sha256 that we lack, each verified against its
  // name, and claims it. A blob that vanishes meanwhile is left out. `report` hears of each. The
  // first blob that cannot be taken ends it: kDataLoss for wrong bytes, kResourceExhausted for a
  // full disk.
  Status TakeBlobs(const std::filesystem::path& content_root,
                   const std::function<void(const BlobTaken&)>& report, std::stop_token stop);
  // Blobs below `content_root` that we lack.
  Result<std::vector<BlobTaken>> Missing(const std::filesystem::path& content_root) const;
  // What is left to do takes that much. A layer that the built-in snapshotter has becomes as large
  // as it is there; the size of another is guessed. Errors as UnpackImages().
  Result<RoomNeeded> Needs(const std::filesystem::path& content_root, std::stop_token stop) const;
  // Evicts what has to go for that. kResourceExhausted: even then it would not fit in; nothing was
  // evicted, and the message has the figures and the keys to change.
  Status MakeRoom(const RoomNeeded& needed, std::stop_token stop);
  // What MakeRoom() would say.
  Status CheckRoom(const RoomNeeded& needed, std::stop_token stop) const;
  // Unpacks the layers of every image that containerd lists. An error is one of containerd; what is
  // wrong with one image stands in its report.
  Status UnpackImages(const std::function<void(const ImageTaken&)>& report, std::stop_token stop);
  // Whether containerd has our snapshotter loaded.
  Result<bool> CanRegister() const {
    return options_.containerd.HasPlugin("io.containerd.snapshotter.v1", options_.snapshotter);
  }
  // Tells each namespace of its images' layers. With `tell`, CRI hears of each image anew, since it
  // left those out that were not whole at its start. As above.
  Status RegisterImages(const std::function<void(const ImageTaken&)>& report, bool tell,
                        std::stop_token stop);
  // Once that store's containerd reads from ours alone (else nothing is done): removes the built-in
  // store's files of the blobs that are ours, since nobody would when containerd deletes the blobs.
  // What we lack stays. How many; an error is the first of those that could not be removed.
  Result<size_t> DropBuiltInBlobs(const std::filesystem::path& content_root, std::stop_token stop);

 private:
  using OnImage = std::function<Status(const std::string& ns, const ImageRecord& image,
                                       const std::vector<ImageLayers>& manifests)>;

  Result<BlobTaken> Take(const std::filesystem::path& file, const Digest& digest,
                         std::stop_token stop);
  Result<bool> ReadsFromUsAlone(const std::filesystem::path& content_root);
  // Whether that file has no other name, and is what our store has open as the blob.
  Result<bool> IsOnlyName(const std::filesystem::path& file, const Digest& digest);
  Status DropBuiltInBlob(const std::filesystem::path& file, const Digest& digest,
                         const std::stop_token& stop);
  Status EachImage(const OnImage& work, const std::function<void(const ImageTaken&)>& report,
                   std::stop_token stop);
  Status Unpack(const ImageLayers& image, const std::stop_token& stop);
  Status Register(const std::string& ns, const ImageLayers& image, const std::string& lease);
  Result<std::string> Read(const Digest& digest, uint64_t limit_bytes) const;
  bool IsHere(const std::filesystem::path& content_root, const Digest& blob) const;
  // Of the layers that are not unpacked yet and can be; each chain is counted once.
  Result<uint64_t> UnpackedBytes(const std::string& ns, const ImageLayers& image,
                                 const std::filesystem::path& content_root,
                                 std::set<Digest>& seen) const;
  Result<uint64_t> UnpackedBytes(const std::string& ns, const ImageLayer& layer) const;

  const Options options_;
};

}  // namespace hearth::plugin
