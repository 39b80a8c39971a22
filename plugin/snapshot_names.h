// SnapshotNames: learns what containerd calls its snapshots in our snapshotter.
//
// containerd's API tells the keys of its clients and never the names that it has for us, and leaves
// out snapshots that we do not know. But for a list it asks us for each one by that name. While
// Learn() runs, a Stat of its namespace is noted, and one of an unknown name gets a stand-in for an
// answer, so that the list has it with its parent and labels. Any thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "store/snapshot_store.h"

namespace hearth::plugin {

struct SnapshotName {
  std::string name;    // in our snapshotter
  bool known = false;  // we have it
};

class SnapshotNames {
 public:
  // By key. `list` must ask containerd for the snapshots of `ns` once and block until it has
  // them. One at a time; kFailedPrecondition while another runs. kAborted: somebody else listed
  // another namespace meanwhile, and it cannot be told whose a name is: ask again. Other errors:
  // those of `list`.
  Result<std::map<std::string, SnapshotName>> Learn(const std::string& ns,
                                                    const std::function<Status()>& list);
  // For SnapshotService: what to answer to a Stat from `ns` to which the snapshotter says `answer`.
  // containerd 1.x does not say whose Stat it is (""): then the name tells, but for aliases.
  Result<store::SnapshotInfo> OnStat(const std::string& ns, const std::string& name,
                                     Result<store::SnapshotInfo> answer);
  // "sha256:…" of "hearth/3/sha256:…", "box" of "k8s.io/17/box"; "" for what is neither.
  static std::string KeyOf(const std::string& name);
  // The chain ID in the key of a client that unpacks a layer and names its chain by no label, as
  // `ctr i pull` does below containerd 2: "k8s.io/12/extract-<unique> sha256:…".
  static std::optional<Digest> ChainOfUnpack(const std::string& name);

 private:
  Mutex mutex_;
  bool learning_ GUARDED_BY(mutex_) = false;
  bool ambiguous_ GUARDED_BY(mutex_) = false;
  std::string ns_ GUARDED_BY(mutex_);
  std::map<std::string, SnapshotName> names_ GUARDED_BY(mutex_);
};

}  // namespace hearth::plugin
