#include "plugin/snapshot_service.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "plugin/containerd_call.h"
#include "plugin/filter.h"
#include "plugin/label_mask.h"
#include "plugin/mount_service.h"
#include "plugin/worker_service.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::snapshots::v1;
using google::protobuf::Empty;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

constexpr int kInfosPerMessage = 100;

v1::Kind ToKind(store::SnapshotKind kind) {
  switch (kind) {
    case store::SnapshotKind::kView:
      return v1::VIEW;
    case store::SnapshotKind::kActive:
      return v1::ACTIVE;
    case store::SnapshotKind::kCommitted:
      return v1::COMMITTED;
  }
  return v1::UNKNOWN;
}

// As filters spell it.
std::string KindName(store::SnapshotKind kind) {
  switch (kind) {
    case store::SnapshotKind::kView:
      return "view";
    case store::SnapshotKind::kActive:
      return "active";
    case store::SnapshotKind::kCommitted:
      return "committed";
  }
  return "unknown";
}

void ToInfo(const store::SnapshotInfo& snapshot, v1::Info* out) {
  out->set_name(snapshot.name);
  out->set_parent(snapshot.parent);
  out->set_kind(ToKind(snapshot.kind));
  ToTimestamp(snapshot.created, out->mutable_created_at());
  ToTimestamp(snapshot.updated, out->mutable_updated_at());
  out->mutable_labels()->insert(snapshot.labels.begin(), snapshot.labels.end());
}

// "" for containerd's own calls, as of its garbage collector.
std::string NamespaceOf(const Context& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kNamespaceHeader);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

std::optional<std::string> FieldOf(const store::SnapshotInfo& snapshot, const FieldPath& path) {
  if (path[0] == "name") return snapshot.name;
  if (path[0] == "parent") return snapshot.parent;
  if (path[0] == "kind") return KindName(snapshot.kind);
  if (path[0] == "labels") return LabelField(path, snapshot.labels);
  return std::nullopt;
}

// Snapshots of one moment, a message full at a time.
class SnapshotList {
 public:
  SnapshotList(Snapshotter& snapshotter, std::vector<std::string> expressions)
      : snapshotter_(snapshotter), expressions_(std::move(expressions)) {}

  Status Fill(v1::ListSnapshotsResponse& message) {
    if (!std::exchange(listed_, true)) TRY_STATUS(List());
    while (!infos_.empty() && message.info_size() < kInfosPerMessage) {
      ToInfo(infos_.front(), message.add_info());
      infos_.pop_front();
    }
    return OkStatus();
  }

 private:
  Status List() {
    const Filter filter = TRY(Filter::Parse(expressions_));
    return snapshotter_.List([&](const store::SnapshotInfo& snapshot) {
      const auto fields = [&](const FieldPath& path) { return FieldOf(snapshot, path); };
      if (filter.Matches(fields)) infos_.push_back(snapshot);
      return true;
    });
  }

  Snapshotter& snapshotter_;
  const std::vector<std::string> expressions_;
  bool listed_ = false;
  std::deque<store::SnapshotInfo> infos_;  // still to be told
};

// Of a call whose answer is mounts.
template <typename Response>
std::function<void(Result<std::vector<Mount>>)> Answering(Response* response,
                                                          WaitingReactor::Finisher finish) {
  return [response, finish = std::move(finish)](Result<std::vector<Mount>> mounts) {
    if (mounts.ok()) ToWireMounts(*mounts, response->mutable_mounts());
    finish(mounts.status());
  };
}

class Service final : public v1::Snapshots::CallbackService {
 public:
  explicit Service(const SnapshotService::Options& options)
      : snapshotter_(options.snapshotter),
        workers_(options.workers),
        quick_(options.quick),
        names_(options.names) {}

  Unary* Prepare(Context*, const v1::PrepareSnapshotRequest* request,
                 v1::PrepareSnapshotResponse* response) override {
    return new WaitingReactor(
        "Snapshots.Prepare", quick_,
        [this, request, response](std::stop_token stop, WaitingReactor::Finisher finish) {
          snapshotter_.Prepare({request->key(), request->parent(), ToMap(request->labels())}, stop,
                               Answering(response, std::move(finish)));
        });
  }

  Unary* View(Context*, const v1::ViewSnapshotRequest* request,
              v1::ViewSnapshotResponse* response) override {
    return new WaitingReactor(
        "Snapshots.View", quick_,
        [this, request, response](std::stop_token stop, WaitingReactor::Finisher finish) {
          snapshotter_.View({request->key(), request->parent(), ToMap(request->labels())}, stop,
                            Answering(response, std::move(finish)));
        });
  }

  Unary* Mounts(Context*, const v1::MountsRequest* request, v1::MountsResponse* response) override {
    return new WaitingReactor(
        "Snapshots.Mounts", quick_,
        [this, request, response](std::stop_token stop, WaitingReactor::Finisher finish) {
          snapshotter_.Mounts(request->key(), stop, Answering(response, std::move(finish)));
        });
  }

  Unary* Commit(Context* context, const v1::CommitSnapshotRequest* request, Empty*) override {
    return RunUnary("Snapshots.Commit", context, quick_, [this, request] {
      return snapshotter_.Commit(request->name(), request->key(), ToMap(request->labels()));
    });
  }

  Unary* Remove(Context* context, const v1::RemoveSnapshotRequest* request, Empty*) override {
    return RunUnary("Snapshots.Remove", context, quick_,
                    [this, request] { return snapshotter_.Remove(request->key()); });
  }

  Unary* Stat(Context* context, const v1::StatSnapshotRequest* request,
              v1::StatSnapshotResponse* response) override {
    return RunUnary("Snapshots.Stat", context, quick_, [this, context, request, response] {
      auto info = snapshotter_.Stat(request->key());
      if (names_ != nullptr) {
        info = names_->OnStat(NamespaceOf(*context), request->key(), std::move(info));
      }
      ToInfo(TRY(std::move(info)), response->mutable_info());
      return OkStatus();
    });
  }

  Unary* Update(Context* context, const v1::UpdateSnapshotRequest* request,
                v1::UpdateSnapshotResponse* response) override {
    return RunUnary("Snapshots.Update", context, quick_, [this, request, response] {
      const LabelChange change = TRY(ApplyLabelMask(ToVector(request->update_mask().paths()),
                                                    ToMap(request->info().labels())));
      ToInfo(TRY(snapshotter_.UpdateLabels(request->info().name(), change.labels, change.replace)),
             response->mutable_info());
      return OkStatus();
    });
  }

  grpc::ServerWriteReactor<v1::ListSnapshotsResponse>* List(
      Context*, const v1::ListSnapshotsRequest* request) override {
    auto list = std::make_shared<SnapshotList>(snapshotter_, ToVector(request->filters()));
    return new ListReactor<v1::ListSnapshotsResponse>(
        "Snapshots.List", quick_,
        [list](v1::ListSnapshotsResponse& message) { return list->Fill(message); });
  }

  Unary* Usage(Context* context, const v1::UsageRequest* request,
               v1::UsageResponse* response) override {
    return RunUnary("Snapshots.Usage", context, workers_, [this, request, response] {
      const store::SnapshotUsage usage = TRY(snapshotter_.Usage(request->key()));
      response->set_size(static_cast<int64_t>(usage.size_bytes));
      response->set_inodes(static_cast<int64_t>(usage.inodes));
      return OkStatus();
    });
  }

  Unary* Cleanup(Context*, const v1::CleanupRequest*, Empty*) override {
    return new WaitingReactor("Snapshots.Cleanup", workers_,
                              [this](std::stop_token stop, WaitingReactor::Finisher finish) {
                                finish(snapshotter_.Cleanup(stop));
                              });
  }

 private:
  Snapshotter& snapshotter_;
  ThreadPool& workers_;
  ThreadPool& quick_;
  SnapshotNames* const names_;
};

}  // namespace

SnapshotService::SnapshotService(const Options& options)
    : service_(std::make_shared<Service>(options)) {}

}  // namespace hearth::plugin
