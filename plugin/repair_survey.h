// RepairSurvey: what containerd names and what of it our store lacks.
#pragma once

#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "oci/registry.h"
#include "plugin/containerd_client.h"
#include "plugin/inventory_client.h"
#include "plugin/snapshot_names.h"
#include "store/store.h"

namespace hearth::plugin {

struct SurveyedSnapshot {
  SnapshotRecord record;
  std::string name;             // in our snapshotter
  std::optional<Digest> chain;  // that it is the layer of, where its key says so
  bool lost = false;            // the store has no such name
  bool layer_lost = false;      // has the name, and waits for its layer
  bool files_gone = false;      // deleted under the running node, which does not know it yet
};

struct SurveyedNamespace {
  std::string name;
  std::vector<ImageRecord> images;
  std::map<Digest, ContentRecord> content;
  std::map<std::string, SurveyedSnapshot> snapshots;  // by key
  std::vector<ContainerRecord> containers;            // on our snapshotter
};

// What one image names and the store lacks.
struct ImageLosses {
  bool known = false;          // containerd has its manifest on record
  std::vector<Digest> blobs;   // lost
  uint64_t bytes = 0;          // of those
  std::vector<Digest> layers;  // chains whose snapshot or files are lost
};

struct RepairSurvey {
  bool content_is_ours = false;  // else containerd keeps its blobs elsewhere
  std::vector<SurveyedNamespace> namespaces;
  std::unordered_set<Digest> lost_chains;
  size_t blobs = 0;  // lost ones
  uint64_t bytes = 0;
  size_t snapshots = 0;  // lost, or without files

  bool Lost(store::Store& store, const Digest& digest) const {
    return content_is_ours && !store.blobs().Info(digest).ok();
  }
};

struct SurveySources {
  store::Store& store;
  ContainerdClient& containerd;
  InventoryClient& inventory;
  SnapshotNames& names;
  std::string snapshotter = "hearth";
};

// Blocks; never from inside a call of containerd's. kFailedPrecondition: containerd does not have
// our snapshotter; else errors of containerd.
Result<RepairSurvey> Survey(const SurveySources& sources, const std::stop_token& stop);

// By containerd's own references between blobs, so that nothing need be read.
ImageLosses LossesOf(const RepairSurvey& survey, const SurveyedNamespace& ns,
                     const ImageRecord& image, store::Store& store, const std::string& snapshotter);

// True for manifests and indexes, which registries keep apart from other blobs.
bool IsDocument(const ContentRecord& content);
// Repositories that the blob was pulled from, as its labels say.
std::vector<oci::Access> OriginsOf(const ContentRecord& content);
// The repository in the image's name; none where it is no reference (an imported image, CRI's IDs).
std::optional<oci::Access> OriginOf(const ImageRecord& image);

}  // namespace hearth::plugin
