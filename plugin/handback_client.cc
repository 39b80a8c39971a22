#include "plugin/handback_client.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/containerd_call.h"

namespace hearth::plugin {

namespace content = containerd::services::content::v1;
namespace diff = containerd::services::diff::v1;
namespace snapshots = containerd::services::snapshots::v1;

namespace {

constexpr std::chrono::seconds kCallLimit{60};
constexpr std::chrono::seconds kCleanupLimit{10};
constexpr std::chrono::hours kBytesLimit{1};  // of a call that moves or unpacks a whole layer
constexpr size_t kMessageBytes = 1 << 20;

std::string UniqueKey(const Digest& chain) {
  static std::atomic<uint64_t> count{0};
  return "hearth-handback-" +
         std::to_string(std::chrono::system_clock::now().time_since_epoch().count()) + "." +
         std::to_string(++count) + " " + chain.ToString();
}

class GrpcHandbackClient final : public HandbackClient {
 public:
  explicit GrpcHandbackClient(const std::string& address)
      : address_(address),
        channel_(net::MakeUnixChannel(address)),
        content_(content::Content::NewStub(channel_)),
        diff_(diff::Diff::NewStub(channel_)),
        snapshots_(snapshots::Snapshots::NewStub(channel_)) {}

  Result<std::string> ReadContent(const std::string& ns, const Digest& digest, uint64_t limit_bytes,
                                  const std::stop_token& stop) override {
    ContainerdCall call(In(ns, "", kCallLimit), stop);
    content::ReadContentRequest request;
    request.set_digest(digest.ToString());
    const auto stream = content_->Read(call.context(), request);
    content::ReadContentResponse response;
    std::string bytes;
    while (stream->Read(&response)) {
      bytes += response.data();
      if (bytes.size() <= limit_bytes) continue;
      call.context()->TryCancel();
      (void)stream->Finish();
      return ResourceExhausted("document " + digest.ToString() + ": more than the " +
                               std::to_string(limit_bytes) + " bytes that are read");
    }
    TRY_STATUS(call.Ended(stream->Finish(), "read " + digest.ToString()));
    return bytes;
  }

  Status WriteContent(const std::string& ns, const std::string& lease, const ContentToAdopt& adopt,
                      store::Blob& blob, const std::stop_token& stop) override {
    ContainerdCall call(In(ns, lease, kBytesLimit), stop);
    const auto stream = content_->Write(call.context());
    const Status sent = Send(*stream, adopt, blob, stop);
    // Where containerd ended the stream, its status says why.
    if (!sent.ok() && sent.code() != StatusCode::kAborted) call.context()->TryCancel();
    stream->WritesDone();
    content::WriteContentResponse response;
    while (stream->Read(&response)) {
    }
    const Status ended = call.Ended(stream->Finish(), "write " + adopt.digest.ToString());
    if (ended.code() == StatusCode::kAlreadyExists) return OkStatus();
    return sent.ok() || sent.code() == StatusCode::kAborted ? ended : sent;
  }

  Status UnpackLayer(const LayerToUnpack& layer, const std::stop_token& stop) override {
    const std::string key = UniqueKey(layer.layer.chain);
    const Status status = Unpack(layer, key, stop);
    if (status.ok()) return status;
    // Also after a Commit that found the name taken; not stopped, so that nothing is left. Where
    // containerd went away it goes with the lease.
    ContainerdCall call(In(layer.containerd_namespace, layer.lease, kCleanupLimit), {});
    snapshots::RemoveSnapshotRequest remove;
    remove.set_snapshotter(layer.snapshotter);
    remove.set_key(key);
    google::protobuf::Empty removed;
    (void)snapshots_->Remove(call.context(), remove, &removed);
    return status.code() == StatusCode::kAlreadyExists ? OkStatus() : status;
  }

 private:
  using WriteStream =
      grpc::ClientReaderWriter<content::WriteContentRequest, content::WriteContentResponse>;

  // kAborted: containerd ended the stream, and its status says why.
  static Status Send(WriteStream& stream, const ContentToAdopt& adopt, store::Blob& blob,
                     const std::stop_token& stop) {
    content::WriteContentRequest request;
    request.set_action(content::STAT);
    request.set_ref(adopt.ref);
    request.set_total(static_cast<int64_t>(adopt.size_bytes));
    request.set_expected(adopt.digest.ToString());
    content::WriteContentResponse response;
    if (!stream.Write(request) || !stream.Read(&response)) return Aborted("stream");
    auto offset = static_cast<uint64_t>(response.offset());
    std::string buffer(kMessageBytes, '\0');
    request.clear_ref();
    request.set_action(content::WRITE);
    while (offset < adopt.size_bytes) {
      const size_t got = TRY(blob.Read(offset, buffer, stop));
      if (got == 0) return DataLoss("blob " + adopt.digest.ToString() + " is short");
      request.set_offset(static_cast<int64_t>(offset));
      request.set_data(buffer.data(), got);
      if (!stream.Write(request) || !stream.Read(&response)) return Aborted("stream");
      offset += got;
    }
    request.clear_data();
    request.set_action(content::COMMIT);
    request.set_offset(static_cast<int64_t>(offset));
    for (const auto& [name, value] : adopt.labels) (*request.mutable_labels())[name] = value;
    if (!stream.Write(request) || !stream.Read(&response)) return Aborted("stream");
    return OkStatus();
  }

  Status Unpack(const LayerToUnpack& layer, const std::string& key, const std::stop_token& stop) {
    const std::string what = "layer " + layer.layer.blob.digest.ToString() + ": ";
    snapshots::PrepareSnapshotRequest prepare;
    prepare.set_snapshotter(layer.snapshotter);
    prepare.set_key(key);
    if (layer.parent_chain) prepare.set_parent(layer.parent_chain->ToString());
    snapshots::PrepareSnapshotResponse prepared;
    {
      ContainerdCall call(In(layer.containerd_namespace, layer.lease, kCallLimit), stop);
      TRY_STATUS(
          call.Ended(snapshots_->Prepare(call.context(), prepare, &prepared), what + "prepare"));
    }
    diff::ApplyRequest apply;
    apply.mutable_diff()->set_media_type(layer.layer.blob.media_type);
    apply.mutable_diff()->set_digest(layer.layer.blob.digest.ToString());
    apply.mutable_diff()->set_size(static_cast<int64_t>(layer.layer.blob.size_bytes));
    *apply.mutable_mounts() = prepared.mounts();
    diff::ApplyResponse applied;
    {
      ContainerdCall call(In(layer.containerd_namespace, layer.lease, kBytesLimit), stop);
      TRY_STATUS(call.Ended(diff_->Apply(call.context(), apply, &applied), what + "unpack"));
    }
    if (applied.applied().digest() != layer.layer.diff_id.ToString()) {
      return DataLoss(what + "unpacks to " + applied.applied().digest() + ", not to " +
                      layer.layer.diff_id.ToString());
    }
    snapshots::CommitSnapshotRequest commit;
    commit.set_snapshotter(layer.snapshotter);
    commit.set_key(key);
    commit.set_name(layer.layer.chain.ToString());
    google::protobuf::Empty committed;
    ContainerdCall call(In(layer.containerd_namespace, layer.lease, kCallLimit), stop);
    return call.Ended(snapshots_->Commit(call.context(), commit, &committed), what + "commit");
  }

  ContainerdCall::Options In(const std::string& ns, const std::string& lease,
                             std::chrono::milliseconds limit) const {
    return {.address = address_, .containerd_namespace = ns, .lease = lease, .limit = limit};
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<content::Content::Stub> content_;
  const std::unique_ptr<diff::Diff::Stub> diff_;
  const std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
};

}  // namespace

std::unique_ptr<HandbackClient> HandbackClient::Create(const std::string& address) {
  return std::make_unique<GrpcHandbackClient>(address);
}

}  // namespace hearth::plugin
