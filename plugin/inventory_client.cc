#include "plugin/inventory_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <set>
#include <utility>

#include "containerd/services/containers/v1/containers.grpc.pb.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/containerd_call.h"

namespace hearth::plugin {

namespace containers = containerd::services::containers::v1;
namespace content = containerd::services::content::v1;
namespace snapshots = containerd::services::snapshots::v1;
namespace tasks = containerd::services::tasks::v1;

namespace {

constexpr uint64_t kReadBytes = 64 << 20;  // of a blob with one call: each has a deadline

WallTime FromTimestamp(const google::protobuf::Timestamp& time) {
  return WallTime(std::chrono::seconds(time.seconds()) + std::chrono::nanoseconds(time.nanos()));
}

class GrpcInventoryClient final : public InventoryClient {
 public:
  explicit GrpcInventoryClient(Options options)
      : options_(std::move(options)),
        channel_(net::MakeUnixChannel(options_.address)),
        containers_(containers::Containers::NewStub(channel_)),
        content_(content::Content::NewStub(channel_)),
        snapshots_(snapshots::Snapshots::NewStub(channel_)),
        tasks_(tasks::Tasks::NewStub(channel_)) {}

  Result<std::vector<ContentRecord>> Content(const std::string& ns, std::stop_token stop) override {
    ContainerdCall call(In(ns), stop);
    std::vector<ContentRecord> found;
    const auto stream = content_->List(call.context(), {});
    content::ListContentResponse block;
    while (stream->Read(&block)) {
      for (const auto& info : block.info()) {
        const auto digest = Digest::Parse(info.digest());
        if (!digest.ok()) continue;
        found.push_back({*digest,
                         static_cast<uint64_t>(info.size()),
                         {info.labels().begin(), info.labels().end()}});
      }
    }
    TRY_STATUS(call.Ended(stream->Finish(), "list content of " + ns));
    return found;
  }

  Status ReadContent(const std::string& ns, const ContentRecord& blob, uint64_t offset_bytes,
                     const std::function<Status(std::span<const char>)>& take,
                     std::stop_token stop) override {
    for (uint64_t at = offset_bytes; at < blob.size_bytes;) {
      const uint64_t end = at + std::min(kReadBytes, blob.size_bytes - at);
      TRY_STATUS(ReadRange(ns, blob.digest, at, end, take, stop));
      at = end;
    }
    return OkStatus();
  }

  Result<std::vector<SnapshotRecord>> Snapshots(const std::string& ns,
                                                const std::string& snapshotter,
                                                std::stop_token stop) override {
    ContainerdCall call(In(ns), stop);
    snapshots::ListSnapshotsRequest request;
    request.set_snapshotter(snapshotter);
    std::vector<SnapshotRecord> found;
    const auto stream = snapshots_->List(call.context(), request);
    snapshots::ListSnapshotsResponse block;
    while (stream->Read(&block)) {
      for (const auto& info : block.info()) {
        found.push_back({.key = info.name(),
                         .parent_key = info.parent(),
                         .created = FromTimestamp(info.created_at()),
                         .updated = FromTimestamp(info.updated_at()),
                         .labels = {info.labels().begin(), info.labels().end()}});
      }
    }
    TRY_STATUS(call.Ended(stream->Finish(), "list snapshots of " + ns));
    return found;
  }

  Result<std::vector<ContainerRecord>> Containers(const std::string& ns,
                                                  std::stop_token stop) override {
    const std::set<std::string> mounted = TRY(MountedTasks(ns, stop));
    ContainerdCall call(In(ns), stop);
    std::vector<ContainerRecord> found;
    // One message each: all specs of a large node together may be more than a message holds.
    const auto stream = containers_->ListStream(call.context(), {});
    containers::ListContainerMessage message;
    while (stream->Read(&message)) {
      const auto& one = message.container();
      found.push_back({.id = one.id(),
                       .image = one.image(),
                       .snapshotter = one.snapshotter(),
                       .snapshot_key = one.snapshot_key(),
                       .has_task = mounted.contains(one.id())});
    }
    TRY_STATUS(call.Ended(stream->Finish(), "list containers of " + ns));
    return found;
  }

 private:
  Status ReadRange(const std::string& ns, const Digest& digest, uint64_t from, uint64_t end,
                   const std::function<Status(std::span<const char>)>& take,
                   const std::stop_token& stop) {
    ContainerdCall call(In(ns), stop);
    content::ReadContentRequest request;
    request.set_digest(digest.ToString());
    request.set_offset(static_cast<int64_t>(from));
    request.set_size(static_cast<int64_t>(end - from));
    const auto stream = content_->Read(call.context(), request);
    content::ReadContentResponse block;
    Status taken;
    while (taken.ok() && from < end && stream->Read(&block)) {
      const std::span<const char> data(block.data());
      const uint64_t size = std::min<uint64_t>(data.size(), end - from);
      taken = take(data.first(size));
      from += size;
    }
    if (!taken.ok() || from == end) call.context()->TryCancel();
    const Status ended = call.Ended(stream->Finish(), "read blob " + digest.ToString());
    if (!taken.ok() || from == end) return taken;
    TRY_STATUS(ended);
    return DataLoss("containerd's copy of blob " + digest.ToString() + " ends at byte " +
                    std::to_string(from));
  }

  ContainerdCall::Options In(const std::string& ns) const {
    return {.address = options_.address, .containerd_namespace = ns, .limit = options_.timeout};
  }

  Result<std::set<std::string>> MountedTasks(const std::string& ns, const std::stop_token& stop) {
    ContainerdCall call(In(ns), stop);
    tasks::ListTasksResponse response;
    TRY_STATUS(call.Ended(tasks_->List(call.context(), {}, &response), "list tasks of " + ns));
    std::set<std::string> mounted;
    for (const auto& task : response.tasks()) {
      if (task.status() == containerd::v1::types::STOPPED) continue;
      mounted.insert(task.id().empty() ? task.container_id() : task.id());
    }
    return mounted;
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<containers::Containers::Stub> containers_;
  const std::unique_ptr<content::Content::Stub> content_;
  const std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
  const std::unique_ptr<tasks::Tasks::Stub> tasks_;
};

}  // namespace

std::unique_ptr<InventoryClient> InventoryClient::Create(Options options) {
  return std::make_unique<GrpcInventoryClient>(std::move(options));
}

}  // namespace hearth::plugin
