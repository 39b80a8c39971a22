// ChainIndex: which layer blob makes which chain, and where it can be fetched.
//
// Learns from every manifest and config that passes through us (mirror, content store, preheat).
// containerd's Prepare names only a chain ID; this answers with the image that it belongs to. What
// it says are candidates: the bytes decide. Any thread.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "oci/descriptor.h"
#include "oci/manifest.h"
#include "oci/registry.h"
#include "plugin/content_observer.h"
#include "plugin/manifest_observer.h"
#include "store/blob_store.h"

namespace hearth::plugin {

struct ImageLayer {
  oci::Descriptor blob;
  Digest diff_id;
  Digest chain;
};

struct ImageLayers {
  Digest manifest;
  oci::Descriptor config;
  std::vector<ImageLayer> layers;  // lowest first

  // Chain of the layer below layers[index]; none for the lowest.
  std::optional<Digest> ParentChain(size_t index) const;
};

// kInvalidArgument when manifest and config disagree about the number of layers.
Result<ImageLayers> JoinLayers(const Digest& digest, const oci::Manifest& manifest,
                               std::string_view config_bytes);

// How long a chain whose layer came out wrong is left to containerd: a source that gave wrong bytes
// may be mended, and the node runs for a year.
inline constexpr std::chrono::minutes kRejectFor{10};

// Records of chains, and of preheats' repositories, that are kept; far beyond what one node
// unpacks.
inline constexpr size_t kMaxChainRecords = 1 << 18;

class ChainIndex final : public ContentObserver, public ManifestObserver {
 public:
  struct Options {
    store::BlobStore& blobs;
    kv::Kv& kv;
    const Clock& clock = RealClock();
    std::chrono::minutes source_ttl{10};  // how long a caller's access to a repository is kept
    size_t max_images = 1024;             // the least recently seen ones are forgotten
  };
  explicit ChainIndex(Options options) : options_(options) {}

  void OnManifest(const SeenManifest& seen) override;
  void OnCommitted(const std::string& ref, const Digest& digest, uint64_t size_bytes) override;
  // An image that we preheat: kept on disk with the repository (never a credential) that it is
  // from, which stays an origin of it.
  Status Remember(const ImageLayers& image, const oci::Access& origin);

  struct Candidate {
    std::shared_ptr<const ImageLayers> image;
    size_t index = 0;                  // image->layers[index].chain is what was asked for
    std::vector<oci::Access> origins;  // where we may fetch its blobs; may be empty
  };
  // Images with that chain. `image_ref` is containerd's label with the name
  // of the image that is pulled, "" = not said; it makes that repository an origin.
  std::vector<Candidate> Find(const Digest& chain, const std::string& image_ref);
  // The layer's bytes did not make that chain: not offered again for kRejectFor.
  void Reject(const Digest& chain, const Digest& manifest);
  // Drops records of manifests that the store holds no more, which are of no use, and what is
  // beyond kMaxChainRecords. Looks at a 256th of them; for now and then.
  Status Sweep();

 private:
  struct Image {
    Digest digest;
    std::optional<oci::Manifest> manifest;
    std::shared_ptr<const ImageLayers> layers;  // null until the config is here
    // Of callers, until their time; by registry/repository.
    std::map<std::string, std::pair<oci::Access, SteadyTime>> origins;
    std::optional<oci::Access> preheated_from;
  };

  Image& Touch(const Digest& digest) REQUIRES(mutex_);
  void AddManifest(const Digest& digest, std::string_view bytes, std::string_view media_type,
                   const oci::Access* origin, bool preheated);
  void AddOrigin(Image& image, const oci::Access& origin, bool preheated) REQUIRES(mutex_);
  // Reads configs that arrived meanwhile; disk reads happen outside of the lock.
  void JoinPending();
  void Index(Image& image, ImageLayers layers) REQUIRES(mutex_);
  // Writes down which manifest makes these chains, so that a retry after a restart is native again:
  // containerd has the manifest by then, and does not send it a second time.
  void KeepChains(const ImageLayers& image);
  void LoadFromDisk(const Digest& chain);
  // Whether a record of this manifest, by its key, is of any use: it is here, or seen lately.
  bool IsUseful(std::string_view manifest_key) EXCLUDES(mutex_);
  Result<std::string> Read(const Digest& digest, uint64_t limit_bytes) const;

  const Options options_;
  Mutex records_mutex_;  // from the look at a record to its change; the outer one
  uint8_t next_sweep_ GUARDED_BY(records_mutex_) = 0;  // first byte of the keys
  Mutex mutex_;
  std::list<Image> images_ GUARDED_BY(mutex_);  // latest first
  std::unordered_map<Digest, std::list<Image>::iterator> by_manifest_ GUARDED_BY(mutex_);
  std::unordered_map<Digest, std::vector<Digest>> by_chain_ GUARDED_BY(mutex_);  // → manifests
  std::map<std::pair<Digest, Digest>, SteadyTime> rejected_
      GUARDED_BY(mutex_);  // chain, manifest → until
};

}  // namespace hearth::plugin
