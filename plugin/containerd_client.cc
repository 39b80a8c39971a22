#include "plugin/containerd_client.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "containerd/services/version/v1/version.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/containerd_call.h"

namespace hearth::plugin {

namespace content = containerd::services::content::v1;
namespace images = containerd::services::images::v1;
namespace introspection = containerd::services::introspection::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;
namespace snapshots = containerd::services::snapshots::v1;
namespace version = containerd::services::version::v1;

namespace {

constexpr char kSnapshotRefLabel[] = "containerd.io/snapshot.ref";

// For names in containerd that no other call or run of ours has used.
std::string UniqueNumber() {
  static std::atomic<uint64_t> count{0};
  return std::to_string(std::chrono::system_clock::now().time_since_epoch().count()) + "." +
         std::to_string(++count);
}

class GrpcContainerdClient final : public ContainerdClient {
 public:
  explicit GrpcContainerdClient(Options options)
      : options_(std::move(options)),
        channel_(net::MakeUnixChannel(options_.address)),
        content_(content::Content::NewStub(channel_)),
        images_(images::Images::NewStub(channel_)),
        introspection_(introspection::Introspection::NewStub(channel_)),
        leases_(leases::Leases::NewStub(channel_)),
        namespaces_(namespaces::Namespaces::NewStub(channel_)),
        snapshots_(snapshots::Snapshots::NewStub(channel_)),
        version_(version::Version::NewStub(channel_)) {}

  void Stop() override {
    MutexLock lock(mutex_);
    stopped_ = true;
    for (grpc::ClientContext* context : calls_) context->TryCancel();
  }

  Result<ContainerdVersion> Version() override {
    Call context(*this, "", "");
    version::VersionResponse response;
    TRY_STATUS(Ended(version_->Version(context.get(), {}, &response), "version"));
    return ContainerdVersion{response.version(), response.revision()};
  }

  Result<ContainerdServer> Server() override {
    // Whoever just connected to us from a new root must be known before its first call, so the
    // pause after a containerd that was down ends here. Waiting long would not do either:
    // containerd gives up a connection that says nothing within a second.
    grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
    Call context(*this, "", "", options_.server_timeout);
    introspection::ServerResponse response;
    TRY_STATUS(Ended(introspection_->Server(context.get(), {}, &response), "server",
                     options_.server_timeout));
    return ContainerdServer{response.uuid(), response.pid(), response.pidns()};
  }

  Result<std::string> CreateLease(const std::string& ns, std::chrono::seconds expire) override {
    Call context(*this, ns, "");
    leases::CreateRequest request;
    const std::time_t until =
        std::chrono::system_clock::to_time_t(std::chrono::system_clock::now() + expire);
    std::tm utc{};
    ::gmtime_r(&until, &utc);
    char text[32];
    std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    (*request.mutable_labels())["containerd.io/gc.expire"] = text;
    leases::CreateResponse response;
    // containerd refuses an empty ID from clients that send no name.
    request.set_id("hearth-" + UniqueNumber());
    TRY_STATUS(Ended(leases_->Create(context.get(), request, &response), "create lease"));
    return response.lease().id();
  }

  Status DeleteLease(const std::string& ns, const std::string& lease) override {
    Call context(*this, ns, "");
    leases::DeleteRequest request;
    request.set_id(lease);
    google::protobuf::Empty response;
    return Ended(leases_->Delete(context.get(), request, &response), "delete lease");
  }

  Status AdoptContent(const std::string& ns, const std::string& lease,
                      const ContentToAdopt& adopt) override {
    Call context(*this, ns, lease);
    const auto stream = content_->Write(context.get());
    content::WriteContentRequest request;
    request.set_action(content::STAT);
    request.set_ref(adopt.ref);
    request.set_total(static_cast<int64_t>(adopt.size_bytes));
    request.set_expected(adopt.digest.ToString());
    content::WriteContentResponse response;
    bool going = stream->Write(request) && stream->Read(&response);
    if (going && response.offset() != static_cast<int64_t>(adopt.size_bytes)) {
      context.get()->TryCancel();
      (void)stream->Finish();
      return FailedPrecondition("blob " + adopt.digest.ToString() +
                                ": containerd asks for its bytes (is hearth-content its content "
                                "store, and content_sharing_policy \"shared\"?)");
    }
    if (going) {
      request.set_action(content::COMMIT);
      request.set_offset(static_cast<int64_t>(adopt.size_bytes));
      request.clear_ref();
      for (const auto& [key, value] : adopt.labels) (*request.mutable_labels())[key] = value;
      going = stream->Write(request) && stream->Read(&response);
    }
    stream->WritesDone();
    while (stream->Read(&response)) {
    }
    const Status status = Ended(stream->Finish(), "adopt blob " + adopt.digest.ToString());
    if (status.code() == StatusCode::kAlreadyExists) return LabelContent(ns, adopt);
    return status;
  }

  Result<bool> HasContent(const std::string& ns, const Digest& digest) override {
    Call context(*this, ns, "");
    content::InfoRequest request;
    request.set_digest(digest.ToString());
    content::InfoResponse response;
    return Exists(content_->Info(context.get(), request, &response), "info of blob");
  }

  Status AdoptSnapshot(const std::string& ns, const std::string& lease,
                       const std::string& snapshotter, const Digest& chain,
                       const std::optional<Digest>& parent_chain) override {
    Call context(*this, ns, lease);
    snapshots::PrepareSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    // Unique: containerd says "exists" of a key that another call left behind, too.
    request.set_key("hearth-adopt-" + UniqueNumber() + "-" + chain.ToString());
    if (parent_chain) request.set_parent(parent_chain->ToString());
    (*request.mutable_labels())[kSnapshotRefLabel] = chain.ToString();
    snapshots::PrepareSnapshotResponse response;
    const Status status = Ended(snapshots_->Prepare(context.get(), request, &response),
                                "adopt layer " + chain.ToString());
    if (status.code() == StatusCode::kAlreadyExists) return OkStatus();
    TRY_STATUS(status);
    // It made an empty snapshot: our layer is not there.
    Call undo(*this, ns, lease);
    snapshots::RemoveSnapshotRequest remove;
    remove.set_snapshotter(snapshotter);
    remove.set_key(request.key());
    google::protobuf::Empty removed;
    (void)snapshots_->Remove(undo.get(), remove, &removed);
    return NotFound("layer " + chain.ToString() + ": not unpacked in the store");
  }

  Result<bool> HasSnapshot(const std::string& ns, const std::string& snapshotter,
                           const std::string& name) override {
    Call context(*this, ns, "");
    snapshots::StatSnapshotRequest request;
    request.set_snapshotter(snapshotter);
    request.set_key(name);
    snapshots::StatSnapshotResponse response;
    return Exists(snapshots_->Stat(context.get(), request, &response), "stat of snapshot " + name);
  }

  Result<uint64_t> SnapshotBytes(const std::string& ns, const std::string& snapshotter,
                                 const std::string& name) override {
    Call context(*this, ns, "");
    snapshots::UsageRequest request;
    request.set_snapshotter(snapshotter);
    request.set_key(name);
    snapshots::UsageResponse response;
    TRY_STATUS(
        Ended(snapshots_->Usage(context.get(), request, &response), "usage of snapshot " + name));
    return static_cast<uint64_t>(std::max<int64_t>(response.size(), 0));
  }

  Result<ImageRecord> GetImage(const std::string& ns, const std::string& name) override {
    Call context(*this, ns, "");
    images::GetImageRequest request;
    request.set_name(name);
    images::GetImageResponse response;
    TRY_STATUS(Ended(images_->Get(context.get(), request, &response), "get image " + name));
    return RecordOf(response.image());
  }

  Result<std::vector<std::string>> ListNamespaces() override {
    Call context(*this, "", "");
    namespaces::ListNamespacesResponse response;
    TRY_STATUS(Ended(namespaces_->List(context.get(), {}, &response), "list namespaces"));
    std::vector<std::string> names;
    for (const auto& one : response.namespaces()) names.push_back(one.name());
    return names;
  }

  Result<std::vector<ImageRecord>> ListImages(const std::string& ns) override {
    Call context(*this, ns, "");
    images::ListImagesResponse response;
    TRY_STATUS(Ended(images_->List(context.get(), {}, &response), "list images of " + ns));
    std::vector<ImageRecord> records;
    for (const auto& image : response.images()) records.push_back(TRY(RecordOf(image)));
    return records;
  }

  Status LabelBlob(const std::string& ns, const Digest& digest,
                   const std::map<std::string, std::string>& labels) override {
    return LabelContent(ns, {.digest = digest, .size_bytes = 0, .ref = "", .labels = labels});
  }

  Status PutImage(const std::string& ns, const ImageRecord& record) override {
    images::Image image;
    image.set_name(record.name);
    image.mutable_target()->set_media_type(record.media_type);
    image.mutable_target()->set_digest(record.digest.ToString());
    image.mutable_target()->set_size(static_cast<int64_t>(record.size_bytes));
    for (const auto& [key, value] : record.labels) (*image.mutable_labels())[key] = value;

    Call context(*this, ns, "");
    images::CreateImageRequest create;
    *create.mutable_image() = image;
    images::CreateImageResponse created;
    const Status status =
        Ended(images_->Create(context.get(), create, &created), "create image " + record.name);
    if (status.code() != StatusCode::kAlreadyExists) return status;

    Call update_context(*this, ns, "");
    images::UpdateImageRequest update;
    *update.mutable_image() = image;
    update.mutable_update_mask()->add_paths("target");
    for (const auto& [key, value] : record.labels) {
      update.mutable_update_mask()->add_paths("labels." + key);
    }
    images::UpdateImageResponse updated;
    return Ended(images_->Update(update_context.get(), update, &updated),
                 "update image " + record.name);
  }

  Status TouchImage(const std::string& ns, const std::string& name) override {
    Call context(*this, ns, "");
    images::UpdateImageRequest update;
    update.mutable_image()->set_name(name);
    update.mutable_image()->mutable_target();  // not used; containerd ends where it is absent
    // A label that it does not have is taken away.
    update.mutable_update_mask()->add_paths("labels.hearth/touched");
    images::UpdateImageResponse updated;
    return Ended(images_->Update(context.get(), update, &updated), "touch image " + name);
  }

  Result<bool> HasPlugin(const std::string& type, const std::string& id) override {
    Call context(*this, "", "");
    introspection::PluginsRequest request;
    request.add_filters("type==" + type + ",id==" + id);
    introspection::PluginsResponse response;
    TRY_STATUS(Ended(introspection_->Plugins(context.get(), request, &response), "plugins"));
    return response.plugins_size() > 0 && !response.plugins(0).has_init_err();
  }

  Result<std::string> NamespaceLabel(const std::string& ns, const std::string& label) override {
    Call context(*this, ns, "");
    namespaces::GetNamespaceRequest request;
    request.set_name(ns);
    namespaces::GetNamespaceResponse response;
    const Status status =
        Ended(namespaces_->Get(context.get(), request, &response), "get namespace " + ns);
    if (status.code() == StatusCode::kNotFound) return std::string();
    TRY_STATUS(status);
    const auto& labels = response.namespace_().labels();
    const auto found = labels.find(label);
    return found == labels.end() ? std::string() : found->second;
  }

  Status LabelNamespace(const std::string& ns,
                        const std::map<std::string, std::string>& labels) override {
    namespaces::Namespace record;
    record.set_name(ns);
    for (const auto& [key, value] : labels) (*record.mutable_labels())[key] = value;

    Call context(*this, ns, "");
    namespaces::CreateNamespaceRequest create;
    *create.mutable_namespace_() = record;
    namespaces::CreateNamespaceResponse created;
    const Status status =
        Ended(namespaces_->Create(context.get(), create, &created), "create namespace " + ns);
    if (status.code() != StatusCode::kAlreadyExists) return status;

    Call update_context(*this, ns, "");
    namespaces::UpdateNamespaceRequest update;
    *update.mutable_namespace_() = record;
    for (const auto& [key, value] : labels) {
      update.mutable_update_mask()->add_paths("labels." + key);
    }
    namespaces::UpdateNamespaceResponse updated;
    return Ended(namespaces_->Update(update_context.get(), update, &updated),
                 "label namespace " + ns);
  }

 private:
  // The context of one call, which Stop() can reach.
  class Call {
   public:
    Call(GrpcContainerdClient& client, const std::string& ns, const std::string& lease)
        : Call(client, ns, lease, client.options_.timeout) {}
    Call(GrpcContainerdClient& client, const std::string& ns, const std::string& lease,
         std::chrono::milliseconds timeout)
        : client_(client),
          call_({.address = client.options_.address,
                 .containerd_namespace = ns,
                 .lease = lease,
                 .limit = timeout},
                {}) {
      MutexLock lock(client_.mutex_);
      client_.calls_.insert(get());
      if (client_.stopped_) get()->TryCancel();
    }
    ~Call() {
      MutexLock lock(client_.mutex_);
      client_.calls_.erase(get());
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    grpc::ClientContext* get() { return call_.context(); }

   private:
    GrpcContainerdClient& client_;
    ContainerdCall call_;
  };

  Status Ended(const grpc::Status& grpc_status, std::string_view what) const {
    return Ended(grpc_status, what, options_.timeout);
  }
  Status Ended(const grpc::Status& grpc_status, std::string_view what,
               std::chrono::milliseconds timeout) const {
    return EndedCall(grpc_status, options_.address, std::string(what), timeout);
  }

  Result<bool> Exists(const grpc::Status& grpc_status, std::string_view what) const {
    const Status status = Ended(grpc_status, what);
    if (status.code() == StatusCode::kNotFound) return false;
    TRY_STATUS(status);
    return true;
  }

  static Result<ImageRecord> RecordOf(const images::Image& image) {
    return ImageRecord{.name = image.name(),
                       .media_type = image.target().media_type(),
                       .digest = TRY(Digest::Parse(image.target().digest())),
                       .size_bytes = static_cast<uint64_t>(image.target().size()),
                       .labels = {image.labels().begin(), image.labels().end()}};
  }

  Status LabelContent(const std::string& ns, const ContentToAdopt& adopt) {
    if (adopt.labels.empty()) return OkStatus();
    Call context(*this, ns, "");
    content::UpdateRequest request;
    request.mutable_info()->set_digest(adopt.digest.ToString());
    for (const auto& [key, value] : adopt.labels) {
      (*request.mutable_info()->mutable_labels())[key] = value;
      request.mutable_update_mask()->add_paths("labels." + key);
    }
    content::UpdateResponse response;
    return Ended(content_->Update(context.get(), request, &response),
                 "label blob " + adopt.digest.ToString());
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<content::Content::Stub> content_;
  const std::unique_ptr<images::Images::Stub> images_;
  const std::unique_ptr<introspection::Introspection::Stub> introspection_;
  const std::unique_ptr<leases::Leases::Stub> leases_;
  const std::unique_ptr<namespaces::Namespaces::Stub> namespaces_;
  const std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
  const std::unique_ptr<version::Version::Stub> version_;

  Mutex mutex_;
  std::set<grpc::ClientContext*> calls_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<ContainerdClient> ContainerdClient::Create(Options options) {
  return std::make_unique<GrpcContainerdClient>(std::move(options));
}

Status UnderLease(ContainerdClient& containerd, const std::string& ns, std::chrono::seconds life,
                  const std::function<Status(const std::string& lease)>& work) {
  const std::string lease = TRY(containerd.CreateLease(ns, life));
  const Status status = work(lease);
  const Status ended = containerd.DeleteLease(ns, lease);
  if (!ended.ok()) LOG_WARNING("lease not deleted, it expires", {{"error", ended}});
  return status;
}

}  // namespace hearth::plugin
