// ImageRepair: brings back the documents, blobs and layers of one image.
//
// Used once, by one thread, which it blocks. Past a part that fails it goes on with the others;
// what it brought stays, and a later run finds it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "oci/manifest.h"
#include "plugin/chain_index.h"
#include "plugin/image_resolver.h"
#include "plugin/inventory_client.h"
#include "plugin/layer_builder.h"
#include "plugin/repair_survey.h"
#include "store/store.h"

namespace hearth::plugin {

struct RepairParts {
  store::Store& store;
  ImageResolver& resolver;
  p2p::Swarm& swarm;
  LayerBuilder& builder;
  ChainIndex& chains;
  InventoryClient& inventory;
  std::chrono::milliseconds progress_interval{500};
};

class ImageRepair {
 public:
  // `origins`: where its blobs may be fetched, best first. `progress` hears how many bytes of it
  // were brought so far, on the calling thread.
  ImageRepair(const RepairParts& parts, const RepairSurvey& survey, const SurveyedNamespace& ns,
              std::vector<oci::Access> origins, std::function<void(uint64_t bytes)> progress)
      : parts_(parts),
        survey_(survey),
        ns_(ns),
        origins_(std::move(origins)),
        progress_(std::move(progress)) {}

  // What containerd keeps itself comes from there, else from the origins.
  // OK when everything of it that containerd names is here again, but for the snapshots' names;
  // else the first error of the registry, the store or the unpacker. kNotFound without an origin.
  Status Run(const ImageRecord& image, const std::stop_token& stop);
  // A blob, document or not, that no image names.
  Status RunBlob(const ContentRecord& content, const std::stop_token& stop);

  uint64_t fetched_bytes() const { return fetched_bytes_; }
  size_t fetched_blobs() const { return fetched_blobs_; }
  // Chains of the image's layers, whether they were lost or not.
  const std::unordered_set<Digest>& chains() const { return chains_; }

 private:
  struct Transfer {
    oci::Descriptor blob;
    std::shared_ptr<p2p::Fetch> fetch;  // null: only the layer is wanted
    std::shared_ptr<LayerBuild> build;  // null: only the blob is
    uint64_t had_bytes = 0;
  };

  using Named = std::vector<std::pair<Digest, std::string>>;  // and their media types

  Status ReadManifests(const ImageRecord& image, const std::stop_token& stop);
  // What it names in turn is added to `left`.
  Status ReadManifest(const Digest& digest, const std::string& media_type, Named& left,
                      const std::stop_token& stop);
  Result<std::string> Document(const Digest& digest, const std::stop_token& stop);
  Status Begin(const Digest& digest, const oci::Manifest& manifest, const std::stop_token& stop);
  Status BeginBlob(const oci::Descriptor& blob);
  // Makes sure of a blob in our store where containerd has it in its own. kNotFound: it has not.
  Status CopyFromContainerd(const Digest& digest, const std::stop_token& stop);
  Status BeginLayers(const ImageLayers& image, const std::stop_token& stop);
  Status Wait(Transfer& transfer, const std::stop_token& stop);
  Status WaitAll(const std::stop_token& stop);
  void Report() const;
  // Where this blob may be fetched.
  std::vector<oci::Access> OriginsFor(const Digest& digest) const;
  bool Wanted(const Digest& digest) const;
  // containerd names it, so that its collector must see it.
  Status Claim(const Digest& digest);
  void Keep(const Status& status) {
    if (first_error_.ok()) first_error_ = status;
  }

  const RepairParts& parts_;
  const RepairSurvey& survey_;
  const SurveyedNamespace& ns_;
  const std::vector<oci::Access> origins_;
  const std::function<void(uint64_t bytes)> progress_;
  std::vector<std::pair<Digest, oci::Manifest>> manifests_;
  std::vector<Transfer> transfers_;
  std::unordered_set<Digest> chains_;
  Status first_error_;
  uint64_t fetched_bytes_ = 0;
  size_t fetched_blobs_ = 0;
};

}  // namespace hearth::plugin
