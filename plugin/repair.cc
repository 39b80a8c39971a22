#include "plugin/repair.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "store/disk.h"

namespace hearth::plugin {

namespace {

// What containerd's clients call snapshots of pulls under way; containerd collects them by itself.
constexpr std::string_view kOwnLeftovers[] = {"extract-", "hearth-adopt-"};
constexpr char kSnapshotLabel[] = "containerd.io/snapshot.ref";
constexpr char kSnapshotLabels[] = "containerd.io/snapshot/";

// Those that containerd passes on to a snapshotter.
store::Labels OursOf(const std::map<std::string, std::string>& labels) {
  store::Labels ours;
  for (const auto& [key, value] : labels) {
    if (key == kSnapshotLabel || key.starts_with(kSnapshotLabels)) ours.emplace(key, value);
  }
  return ours;
}

std::string RemoveCommand(const std::string& ns, const std::string& snapshotter,
                          const std::string& key) {
  return "ctr -n " + ns + " snapshots --snapshotter " + snapshotter + " rm '" + key + "'";
}

}  // namespace

// One run.
class Repair::Work {
 public:
  Work(const Options& options, const RepairRequest& request, const RepairEvents& events,
       std::stop_token stop)
      : options_(options),
        store_(options.parts.store),
        request_(request),
        events_(events),
        stop_(std::move(stop)) {}

  Result<RepairDone> Run() {
    if (request_.verify) {
      TRY_STATUS(store_.blobs().Verify(!request_.dry_run, events_.damaged, stop_));
    }
    survey_ = TRY(Survey({.store = store_,
                          .containerd = options_.containerd,
                          .inventory = options_.parts.inventory,
                          .names = options_.names,
                          .snapshotter = options_.snapshotter},
                         stop_));
    events_.surveyed({survey_.blobs, survey_.bytes, survey_.snapshots});
    if (!request_.dry_run) {
      TRY_STATUS(CheckSpace());
      TRY_STATUS(ClaimWhatIsHere());
    }
    FindOrigins();
    // Before anything is repaired: an image shares blobs and layers with others.
    std::vector<std::vector<ImageLosses>> losses;
    for (const SurveyedNamespace& ns : survey_.namespaces) losses.push_back(LossesOfImages(ns));
    for (size_t i = 0; i < losses.size(); ++i) {
      SurveyedNamespace& ns = survey_.namespaces[i];
      for (size_t n = 0; n < ns.images.size(); ++n) {
        TRY_STATUS(RepairImage(ns, ns.images[n], losses[i][n]));
      }
    }
    for (SurveyedNamespace& ns : survey_.namespaces) TRY_STATUS(RepairLooseBlobs(ns));
    for (SurveyedNamespace& ns : survey_.namespaces) {
      TRY_STATUS(RepairContainers(ns));
      TRY_STATUS(RepairLooseSnapshots(ns));
    }
    return done_;
  }

 private:
  // Of the blobs alone: how large layers become is known only once they are unpacked.
  Status CheckSpace() const {
    const uint64_t free = TRY(store::RealDisk().FreeBytes(store_.root()));
    if (survey_.bytes <= free) return OkStatus();
    return ResourceExhausted("fetching what is lost takes " + FormatByteSize(survey_.bytes) +
                             " in " + store_.root().string() + ", where " + FormatByteSize(free) +
                             " are free (free some space, or remove images in containerd that are "
                             "not needed)");
  }

  // Blobs that were preheated again since: containerd names them, so that its collector must see
  // them.
  Status ClaimWhatIsHere() {
    if (!survey_.content_is_ours) return OkStatus();
    for (const SurveyedNamespace& ns : survey_.namespaces) {
      for (const auto& [digest, content] : ns.content) {
        const auto info = store_.blobs().Info(digest);
        if (info.ok() && !info->claimed) TRY_STATUS(store_.blobs().Claim(digest));
      }
    }
    return OkStatus();
  }

  // An image may have names that tell no registry beside one that does.
  void FindOrigins() {
    for (const SurveyedNamespace& ns : survey_.namespaces) {
      for (const ImageRecord& image : ns.images) {
        const auto origin = OriginOf(image);
        if (!origin) continue;
        auto& known = origins_[image.digest];
        const bool there = std::any_of(known.begin(), known.end(), [&](const auto& one) {
          return one.registry == origin->registry && one.repository == origin->repository;
        });
        if (!there) known.push_back(*origin);
      }
    }
  }

  Status Stopped() const { return stop_.stop_requested() ? Cancelled("repair") : OkStatus(); }

  void Tell(const RepairItem& item) {
    if (item.state == RepairState::kFailed) {
      ++done_.failed;
      LOG_WARNING(
          "not repaired",
          {{"namespace", item.containerd_namespace}, {"name", item.name}, {"reason", item.reason}});
    } else if (item.state == RepairState::kRepaired || item.state == RepairState::kEmptied) {
      ++done_.repaired;
    }
    events_.item(item);
    options_.on_item();
  }

  void Count(const ImageRepair& repair) {
    done_.bytes += repair.fetched_bytes();
    done_.blobs += repair.fetched_blobs();
    events_.progress(done_.bytes, survey_.bytes);
  }

  ImageRepair Begin(const SurveyedNamespace& ns, std::vector<oci::Access> origins) {
    return ImageRepair(options_.parts, survey_, ns, std::move(origins), [this](uint64_t bytes) {
      events_.progress(done_.bytes + bytes, survey_.bytes);
    });
  }

  // --- images ---

  std::vector<ImageLosses> LossesOfImages(const SurveyedNamespace& ns) {
    std::vector<ImageLosses> all;
    for (const ImageRecord& image : ns.images) {
      all.push_back(LossesOf(survey_, ns, image, store_, options_.snapshotter));
      tried_.insert(all.back().blobs.begin(), all.back().blobs.end());
      images_layers_.insert(all.back().layers.begin(), all.back().layers.end());
    }
    return all;
  }

  Status RepairImage(SurveyedNamespace& ns, const ImageRecord& image, const ImageLosses& losses) {
    TRY_STATUS(Stopped());
    RepairItem item{.kind = RepairKind::kImage,
                    .containerd_namespace = ns.name,
                    .name = image.name,
                    .state = RepairState::kWhole,
                    .blobs = losses.blobs.size(),
                    .layers = losses.layers.size(),
                    .bytes = losses.bytes,
                    .reason = ""};
    if (!losses.known) {
      item.state = RepairState::kFailed;
      item.reason = "containerd itself has no manifest of it (pull it again, or remove it)";
    } else if (!losses.blobs.empty() || !losses.layers.empty()) {
      item.state = request_.dry_run ? RepairState::kLost : RepairState::kRepaired;
      if (!request_.dry_run) {
        // Each name of one image, as CRI's, has the same fate.
        auto& fate = fates_[{ns.name, image.digest}];
        if (!fate) fate = BringBack(ns, image, losses);
        const Status& status = *fate;
        if (status.code() == StatusCode::kCancelled) return status;
        if (!status.ok()) {
          item.state = RepairState::kFailed;
          item.reason = status.message();
        }
      }
    }
    Tell(item);
    return OkStatus();
  }

  Status BringBack(SurveyedNamespace& ns, const ImageRecord& image, const ImageLosses& losses) {
    ImageRepair repair = Begin(ns, origins_[image.digest]);
    Status status = repair.Run(image, stop_);
    Count(repair);
    if (status.code() == StatusCode::kCancelled) return status;
    // Each layer that is back runs its containers, whatever became of the others.
    for (const Digest& chain : losses.layers) {
      const Status restored = Restore(ns, chain.ToString());
      if (status.ok()) status = restored;
    }
    return status;
  }

  Status RepairLooseBlobs(const SurveyedNamespace& ns) {
    for (const auto& [digest, content] : ns.content) {
      TRY_STATUS(Stopped());
      if (!survey_.Lost(store_, digest) || !tried_.insert(digest).second) continue;
      RepairItem item{.kind = RepairKind::kBlob,
                      .containerd_namespace = ns.name,
                      .name = digest.ToString(),
                      .state = request_.dry_run ? RepairState::kLost : RepairState::kRepaired,
                      .blobs = 1,
                      .layers = 0,
                      .bytes = content.size_bytes,
                      .reason = ""};
      if (!request_.dry_run) {
        ImageRepair repair = Begin(ns, {});
        const Status status = repair.RunBlob(content, stop_);
        Count(repair);
        if (status.code() == StatusCode::kCancelled) return status;
        if (!status.ok()) {
          item.state = RepairState::kFailed;
          item.reason = "no image has it, and " + status.message() + " (to give it up: ctr -n " +
                        ns.name + " content rm " + item.name + ")";
        }
      }
      Tell(item);
    }
    return OkStatus();
  }

  // --- snapshots ---

  // A committed snapshot and all below it.
  Status Restore(SurveyedNamespace& ns, const std::string& key) {
    const auto found = ns.snapshots.find(key);
    if (found == ns.snapshots.end()) return NotFound("containerd has no snapshot " + key);
    SurveyedSnapshot& snapshot = found->second;
    if (snapshot.layer_lost) {
      if (!snapshot.chain || !store_.snapshots().FindLayer(*snapshot.chain).ok()) {
        return NotFound("layer " + key + " was lost and is not unpacked again");
      }
      ++done_.snapshots;
      snapshot.layer_lost = false;
    }
    if (!snapshot.lost) return OkStatus();
    if (!snapshot.chain) return NotFound("nothing says what was in snapshot " + key);
    const std::string& parent = snapshot.record.parent_key;
    if (!parent.empty()) TRY_STATUS(Restore(ns, parent));
    return Put(ns, snapshot, store::SnapshotKind::kCommitted);
  }

  Status Put(const SurveyedNamespace& ns, SurveyedSnapshot& snapshot, store::SnapshotKind kind) {
    store::SnapshotInfo info;
    info.name = snapshot.name;
    info.kind = kind;
    info.created = snapshot.record.created;
    info.updated = snapshot.record.updated;
    info.labels = OursOf(snapshot.record.labels);
    if (kind == store::SnapshotKind::kCommitted) info.chain = snapshot.chain;
    if (const std::string& parent = snapshot.record.parent_key; !parent.empty()) {
      const auto below = ns.snapshots.find(parent);
      if (below == ns.snapshots.end()) return NotFound("containerd has no snapshot " + parent);
      info.parent = below->second.name;
    }
    const Status restored = store_.snapshots().Restore(info);
    // Another namespace has it too.
    if (!restored.ok() && restored.code() != StatusCode::kAlreadyExists) return restored;
    snapshot.lost = false;
    ++done_.snapshots;
    return OkStatus();
  }

  Status RepairContainers(SurveyedNamespace& ns) {
    for (const ContainerRecord& container : ns.containers) {
      TRY_STATUS(Stopped());
      const auto found = ns.snapshots.find(container.snapshot_key);
      if (found == ns.snapshots.end()) continue;
      told_.insert({ns.name, container.snapshot_key});
      if (!found->second.lost) {
        TellOfDeletedLayers(ns, container);
        continue;
      }
      RepairItem item{.kind = RepairKind::kContainer,
                      .containerd_namespace = ns.name,
                      .name = container.id,
                      .state = RepairState::kEmptied,
                      .blobs = 0,
                      .layers = 0,
                      .bytes = 0,
                      .reason = "what it had written is lost; it starts as its image is"};
      if (container.has_task) {
        item.state = RepairState::kFailed;
        item.reason =
            "it runs on files that were deleted, and what it had written is lost: stop it and run "
            "hearth repair again, or remove it (kubelet makes its containers anew)";
      }
      if (request_.dry_run) {
        item.state = RepairState::kLost;
      } else if (container.has_task) {
        // Its root is mounted from the directories that were.
      } else if (const Status status = RestoreContainer(ns, found->second); !status.ok()) {
        item.state = RepairState::kFailed;
        item.reason = status.message();
      }
      Tell(item);
    }
    return OkStatus();
  }

  // Its writable layer is here, but it has layers mounted whose files went.
  void TellOfDeletedLayers(const SurveyedNamespace& ns, const ContainerRecord& container) {
    if (!container.has_task) return;
    auto at = ns.snapshots.find(container.snapshot_key);
    for (; at != ns.snapshots.end(); at = ns.snapshots.find(at->second.record.parent_key)) {
      if (!at->second.chain || !survey_.lost_chains.contains(*at->second.chain)) continue;
      Tell({.kind = RepairKind::kContainer,
            .containerd_namespace = ns.name,
            .name = container.id,
            .state = RepairState::kWhole,
            .blobs = 0,
            .layers = 0,
            .bytes = 0,
            .reason = "it runs on files that were deleted: restart it"});
      return;
    }
  }

  Status RestoreContainer(SurveyedNamespace& ns, SurveyedSnapshot& snapshot) {
    if (const std::string& parent = snapshot.record.parent_key; !parent.empty()) {
      TRY_STATUS(Restore(ns, parent).Annotate("its image's layers are not back"));
    }
    return Put(ns, snapshot, store::SnapshotKind::kActive);
  }

  Status RepairLooseSnapshots(SurveyedNamespace& ns) {
    for (auto& [key, snapshot] : ns.snapshots) {
      TRY_STATUS(Stopped());
      if (snapshot.files_gone) TellOfGoneFiles(ns, key);
      if ((!snapshot.lost && !snapshot.layer_lost) || told_.contains({ns.name, key})) continue;
      if (snapshot.chain && images_layers_.contains(*snapshot.chain)) {
        // Its image told; it may be another namespace's, whose layer serves here too.
        if (!request_.dry_run) (void)Restore(ns, key);
        continue;
      }
      const bool leftover =
          std::any_of(std::begin(kOwnLeftovers), std::end(kOwnLeftovers),
                      [&key = key](std::string_view prefix) { return key.starts_with(prefix); });
      if (leftover) continue;
      RepairItem item{.kind = RepairKind::kSnapshot,
                      .containerd_namespace = ns.name,
                      .name = key,
                      .state = request_.dry_run ? RepairState::kLost : RepairState::kRepaired,
                      .blobs = 0,
                      .layers = 1,
                      .bytes = 0,
                      .reason = ""};
      if (!request_.dry_run && !Restore(ns, key).ok()) {
        item.state = RepairState::kFailed;
        // containerd 2.x gives a user namespace's copy of a layer a name like that of a layer.
        item.reason = (snapshot.chain ? "no image that containerd has makes this layer (pull its "
                                        "image again; if it is a user namespace's copy, or "
                                      : "nothing says what was in it (") +
                      std::string("to give it up: ") +
                      RemoveCommand(ns.name, options_.snapshotter, key) + ")";
      }
      Tell(item);
    }
    return OkStatus();
  }

  void TellOfGoneFiles(const SurveyedNamespace& ns, const std::string& key) {
    Tell({.kind = RepairKind::kSnapshot,
          .containerd_namespace = ns.name,
          .name = key,
          .state = RepairState::kFailed,
          .blobs = 0,
          .layers = 1,
          .bytes = 0,
          .reason = "its files were deleted while the node ran (restart hearth, then run hearth "
                    "repair again)"});
  }

  const Options& options_;
  store::Store& store_;
  const RepairRequest& request_;
  const RepairEvents& events_;
  const std::stop_token stop_;
  RepairSurvey survey_;
  std::unordered_map<Digest, std::vector<oci::Access>> origins_;  // by what a name stands for
  std::set<Digest> tried_;                                        // blobs of images, and loose ones
  std::set<Digest> images_layers_;                      // lost chains that some image names
  std::set<std::pair<std::string, std::string>> told_;  // namespace, key: with their containers
  std::map<std::pair<std::string, Digest>, std::optional<Status>> fates_;  // of images
  RepairDone done_;
};

Result<RepairDone> Repair::Run(const RepairRequest& request, const RepairEvents& events,
                               std::stop_token stop) {
  return Work(options_, request, events, std::move(stop)).Run();
}

}  // namespace hearth::plugin
