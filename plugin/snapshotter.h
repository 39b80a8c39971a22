// Snapshotter: what containerd's snapshot calls do here. Overlay snapshots like containerd's own,
// plus layers that we unpacked already or unpack while Prepare waits.
//
// snapshot_service and diff_service translate to and from it. Calls block only on the index and a
// few file operations, but for those which answer through a callback and hold no thread while they
// wait. Any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "store/snapshot_store.h"

namespace hearth::plugin {

// As containerd.types.Mount.
struct Mount {
  std::string type;
  std::string source;
  std::string target;
  std::vector<std::string> options;
};

struct PrepareRequest {
  std::string key;
  std::string parent;
  store::Labels labels;
};

// Of containerd.types.Descriptor, what Apply needs.
struct ApplyRequest {
  std::string media_type;
  std::string digest;  // text as sent
  int64_t size_bytes = 0;
  std::vector<Mount> mounts;
  bool sync_fs = false;
};
struct Applied {
  Digest diff_id;
  int64_t tar_bytes = 0;
};

class Snapshotter {
 public:
  virtual ~Snapshotter() = default;

  // Mounts of a new active snapshot; or kAlreadyExists when label snapshot.ref names a chain that
  // is there (then Stat and List show it). Waits at most prepare_wait for a layer that we pull
  // ourselves. `done` is called once, from any thread; `stop` ends only the waiting.
  virtual void Prepare(PrepareRequest request, std::stop_token stop,
                       std::function<void(Result<std::vector<Mount>>)> done) = 0;
  // Like Prepare, of a view; and mounts of what there is already. Each waits for files below it
  // that a power loss took, Mounts longer, since containerd holds no lock across it.
  virtual void View(PrepareRequest request, std::stop_token stop,
                    std::function<void(Result<std::vector<Mount>>)> done) = 0;
  virtual void Mounts(std::string key, std::stop_token stop,
                      std::function<void(Result<std::vector<Mount>>)> done) = 0;
  virtual Status Commit(const std::string& name, const std::string& key,
                        const store::Labels& labels) = 0;
  virtual Status Remove(const std::string& key) = 0;
  virtual Result<store::SnapshotInfo> Stat(const std::string& key) = 0;
  // As SnapshotStore::UpdateLabels.
  virtual Result<store::SnapshotInfo> UpdateLabels(const std::string& key,
                                                   const store::Labels& labels, bool replace) = 0;
  virtual Status List(const std::function<bool(const store::SnapshotInfo&)>& visit) = 0;
  virtual Result<store::SnapshotUsage> Usage(const std::string& key) = 0;
  virtual Status Cleanup(std::stop_token stop) = 0;

  // Unpacks the blob onto the mounts; at once where the layer is there already, after it where we
  // are unpacking it. kUnimplemented: media type that is no layer of ours; kNotFound: blob.
  virtual void Apply(ApplyRequest request, std::stop_token stop,
                     std::function<void(Result<Applied>)> done) = 0;
};

}  // namespace hearth::plugin
