// Repair: rebuilds from containerd's records and the origins what our store lost.
//
// containerd remembers the digest of each blob and the name of each snapshot for ever; a store that
// was deleted, or lost some of them, makes its images and containers fail. This asks containerd for
// all of them, fetches what is missing from the registries that the images came from, unpacks the
// layers anew and takes the names back. Every step finds what an earlier run did. One run at a
// time; calls block. Never from inside a call of containerd's.
#pragma once

#include <functional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/containerd_client.h"
#include "plugin/image_repair.h"
#include "plugin/repair_survey.h"
#include "plugin/snapshot_names.h"
#include "store/store.h"

namespace hearth::plugin {

enum class RepairKind : uint8_t { kImage, kContainer, kSnapshot, kBlob };
enum class RepairState : uint8_t {
  kWhole,     // nothing of it was lost
  kLost,      // something is; nothing was done about it (dry run)
  kRepaired,  // all of it is back
  kEmptied,   // a container's writable layer is back, without what was written to it
  kFailed,
};

struct RepairItem {
  RepairKind kind = RepairKind::kImage;
  std::string containerd_namespace;
  std::string name;  // of the image or container, key of the snapshot, digest of the blob
  RepairState state = RepairState::kWhole;
  size_t blobs = 0;  // lost
  size_t layers = 0;
  uint64_t bytes = 0;
  std::string reason;  // why it failed, or what there is to know; "" = nothing
};

struct RepairLosses {
  size_t blobs = 0;
  uint64_t bytes = 0;
  size_t snapshots = 0;
};

struct RepairDone {
  size_t blobs = 0;  // fetched
  uint64_t bytes = 0;
  size_t snapshots = 0;  // taken back
  size_t repaired = 0;   // images and containers
  size_t failed = 0;     // items of any kind
};

// Called on the calling thread.
struct RepairEvents {
  std::function<void(const std::string& problem)> damaged;
  std::function<void(const RepairLosses&)> surveyed;
  std::function<void(uint64_t bytes_done, uint64_t bytes_total)> progress;
  std::function<void(const RepairItem&)> item;
};

struct RepairRequest {
  bool dry_run = false;  // says what is lost, changes nothing, asks no registry
  bool verify = false;   // rehashes all blobs first; wrong ones count as lost
};

class Repair {
 public:
  struct Options {
    RepairParts parts;
    ContainerdClient& containerd;
    SnapshotNames& names;
    // After each item: some of it may have come back.
    std::function<void()> on_item = [] {};
    std::string snapshotter = "hearth";
  };
  explicit Repair(Options options) : options_(std::move(options)) {}

  // An error is one of containerd or the store; what is wrong with one item stands in its report.
  Result<RepairDone> Run(const RepairRequest& request, const RepairEvents& events,
                         std::stop_token stop);

 private:
  class Work;
  const Options options_;
};

}  // namespace hearth::plugin
