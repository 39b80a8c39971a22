// SnapshotStore: containerd's snapshots (by name) and our verified layers (by chain ID).
//
// A directory is snapshots/<n>/{fs,work}. A *layer* is a directory that we unpacked and verified. A
// committed snapshot is either containerd's own directory or an *alias* of a layer, named
// "hearth/<n>/<chain ID>"; a layer without alias is invisible to containerd. Error codes are those
// that containerd's storage gives (facts: snapshots §3.4). Any thread; every change is atomic and
// on disk (power loss may take the latest ones back as a whole).
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "kv/kv.h"
#include "store/disk.h"
#include "store/last_use.h"
#include "store/pause.h"

namespace hearth::store {

enum class SnapshotKind : uint8_t { kView = 1, kActive = 2, kCommitted = 3 };

using Labels = std::map<std::string, std::string>;
inline constexpr char kSnapshotRefLabel[] = "containerd.io/snapshot.ref";

struct SnapshotInfo {
  std::string name;
  std::string parent;  // "" = none
  SnapshotKind kind = SnapshotKind::kActive;
  WallTime created;
  WallTime updated;
  Labels labels;
  uint64_t directory = 0;       // n of snapshots/<n>
  std::optional<Digest> chain;  // set for aliases and re-pointed commits: verified by us
};

struct LayerInfo {
  Digest chain;
  std::optional<Digest> parent_chain;  // none for the lowest layer
  Digest diff_id;
  Digest blob;  // compressed blob that it was made of
  uint64_t directory = 0;
  uint64_t tar_bytes = 0;  // of the uncompressed stream; must be kept in the record
  uint64_t disk_bytes = 0;
  uint64_t inodes = 0;
  bool preheated = false;
  WallTime pinned_until;  // epoch = not pinned
  bool durable = false;   // files known to be on disk
  std::string boot_id;    // boot in which it was made
  WallTime created;
  WallTime last_used;  // made, aliased, preheated or built upon; within kUseGranularity
};

struct SnapshotUsage {
  uint64_t size_bytes = 0;
  uint64_t inodes = 0;
};

// Files are removed in turns with pauses between: 50,000 a second at most, 5,000 while a layer is
// being unpacked.
inline constexpr int kRemovalsPerTurn = 500;
inline constexpr std::chrono::milliseconds kRemovalPause{10};
inline constexpr std::chrono::milliseconds kRemovalPauseBesideUnpacks{100};

class SnapshotStore {
 public:
  struct Options {
    std::filesystem::path root;  // holds snapshots/
    kv::Kv& kv;
    const Clock& clock = RealClock();
    Disk& disk = RealDisk();
    Pause pause = PauseFor;
    std::string boot_id = BootId();  // "" = not known: whatever is not durable is taken for lost
  };
  // Sweeps records without a directory; directories without a record (also half-made layers) go at
  // the next Cleanup().
  static Result<std::unique_ptr<SnapshotStore>> Open(Options options);
  virtual ~SnapshotStore() = default;

  // --- snapshots, as containerd sees them ---
  // An active snapshot or view with its directory; `fs` is 0755 and owned as the parent's.
  // kAlreadyExists: key; kNotFound: parent; kInvalidArgument: parent not committed.
  virtual Result<SnapshotInfo> Create(SnapshotKind kind, const std::string& key,
                                      const std::string& parent, const Labels& labels) = 0;
  virtual Result<SnapshotInfo> Stat(const std::string& name) const = 0;
  // Replaces (or with `replace` false: changes; "" deletes) labels; moves `updated`.
  virtual Result<SnapshotInfo> UpdateLabels(const std::string& name, const Labels& labels,
                                            bool replace) = 0;
  // Active `key` becomes committed `name`; labels replaced. With `layer`: the snapshot becomes an
  // alias of that layer and the active's own directory is dropped.
  virtual Result<SnapshotInfo> Commit(const std::string& name, const std::string& key,
                                      const Labels& labels, std::optional<Digest> layer) = 0;
  // kNotFound; kFailedPrecondition "cannot remove snapshot with child". Directories go in
  // Cleanup(). The last alias of a layer that is not preheated or pinned takes the layer with it.
  virtual Status Remove(const std::string& name) = 0;
  // Every snapshot in name order; a snapshot of the moment, no lock is held while `visit` runs.
  virtual Status List(const std::function<bool(const SnapshotInfo&)>& visit) const = 0;
  // Committed: as stored at commit (walked then, or in the background); else a walk of `fs`.
  virtual Result<SnapshotUsage> Usage(const std::string& name) = 0;
  // Deletes what Remove() and friends left, at a bounded rate; may take long. What cannot be
  // deleted keeps nothing else, is tried again by the next call, and its first error is returned.
  virtual Status Cleanup(std::stop_token stop) = 0;
  // OK when the files of committed snapshot `name`, and of all below it, are here.
  // kFailedPrecondition names a layer that was lost; kNotFound a snapshot without a record.
  virtual Status CheckFiles(const std::string& name) const = 0;
  // `fs` directories below snapshot `name`, top first: its parent's, that one's parent's, …
  virtual Result<std::vector<std::filesystem::path>> Lowers(const std::string& name) const = 0;
  std::filesystem::path FsPath(uint64_t directory) const;    // snapshots/<n>/fs
  std::filesystem::path WorkPath(uint64_t directory) const;  // snapshots/<n>/work
  // A committed snapshot with label snapshot.ref == ref and that parent, in `ns_prefix` ("k8s.io/")
  // or made of a layer of ours. kNotFound.
  virtual Result<SnapshotInfo> FindByRef(const std::string& ref, const std::string& parent,
                                         const std::string& ns_prefix) const = 0;

  // --- layers ---
  // A fresh directory with an empty `fs` to unpack into. After a restart it goes unless committed.
  virtual Result<uint64_t> BeginLayer() = 0;
  // kAlreadyExists when the chain is there already (the directory is dropped); kFailedPrecondition
  // when its parent is gone.
  virtual Status CommitLayer(const LayerInfo& layer) = 0;
  virtual void AbandonLayer(uint64_t directory) = 0;
  virtual Result<LayerInfo> FindLayer(const Digest& chain) const = 0;
  virtual Status ListLayers(const std::function<bool(const LayerInfo&)>& visit) const = 0;
  // `fs` directories of this layer and all below it, top first. kNotFound when one is missing.
  virtual Result<std::vector<std::filesystem::path>> LayerPaths(const Digest& chain) const = 0;
  virtual Status PreheatLayer(const Digest& chain, std::optional<WallTime> pinned_until) = 0;
  // Takes the marks back; true: no snapshot or layer needs it, and it is gone. kNotFound.
  virtual Result<bool> DropPreheatOfLayer(const Digest& chain) = 0;
  // Directories of layers, and of snapshots that containerd unpacked and committed, whose files are
  // not known to be on disk. A power loss takes these: it is unknown what is left of them.
  virtual std::vector<uint64_t> NotDurable() const = 0;
  // For what NotDurable() named before the file system was synced.
  virtual Status MarkDurable(const std::vector<uint64_t>& directories) = 0;
  // Layers that were lost, to a power loss as a rule, while a snapshot, a preheat or another layer
  // wants them. CommitLayer() makes one what it was; its snapshots have files again.
  virtual std::vector<LayerInfo> LostLayers() const = 0;
  // Somebody builds on the layer now, or asks for it. kNotFound.
  virtual Status TouchLayer(const Digest& chain) = 0;
  // RemoveLayer() of one that was not used since `unused_since`; else kFailedPrecondition.
  virtual Status EvictLayer(const Digest& chain, WallTime unused_since) = 0;
  // Removes the layer; kFailedPrecondition while a snapshot is an alias of it or a layer lies on
  // it.
  virtual Status RemoveLayer(const Digest& chain) = 0;
  // The committed snapshot of that layer on `parent` (made when there is none), with label
  // snapshot.ref. kNotFound: layer; kFailedPrecondition: `parent` is known to be another chain.
  virtual Result<SnapshotInfo> Alias(const Digest& chain, const std::string& parent) = 0;

  // A snapshot that containerd has on record and we lost, with the name, parent, kind, labels and
  // times of `info`. With a chain it becomes an alias of that layer, else it gets an empty
  // directory. kAlreadyExists: name; kNotFound: parent or layer; kFailedPrecondition: the parent is
  // known to be another chain, or has no files; kInvalidArgument: committed without a chain.
  virtual Status Restore(const SnapshotInfo& info) = 0;

  // For a containerd that started anew: aliases go, other snapshots are renamed to
  // "stale/<n>/<old name>", so that its key numbers cannot collide; layers stay.
  virtual Status ForgetContainerd() = 0;
  // Checks records against directories; `problem` gets a line for each disagreement.
  virtual Status Verify(const std::function<void(const std::string&)>& problem) const = 0;

 protected:
  explicit SnapshotStore(std::filesystem::path root) : root_(std::move(root)) {}
  const std::filesystem::path root_;
};

}  // namespace hearth::store
