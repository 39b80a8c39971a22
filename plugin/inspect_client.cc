#include "plugin/inspect_client.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <utility>

#include "base/units.h"
#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "containerd/services/version/v1/version.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/containerd_call.h"

namespace hearth::plugin {

namespace introspection = containerd::services::introspection::v1;
namespace namespaces = containerd::services::namespaces::v1;
namespace snapshots = containerd::services::snapshots::v1;
namespace version = containerd::services::version::v1;

namespace {

constexpr std::string_view kUpper = "upperdir=";

class GrpcInspectClient final : public InspectClient {
 public:
  explicit GrpcInspectClient(Options options)
      : options_(std::move(options)),
        channel_(net::MakeUnixChannel(options_.address)),
        introspection_(introspection::Introspection::NewStub(channel_)),
        namespaces_(namespaces::Namespaces::NewStub(channel_)),
        snapshots_(snapshots::Snapshots::NewStub(channel_)),
        version_(version::Version::NewStub(channel_)) {}

  Result<std::string> Version() override {
    const auto context = Call("");
    version::VersionResponse response;
    TRY_STATUS(Ended(version_->Version(context.get(), {}, &response)));
    return response.version();
  }

  Result<std::vector<LoadedPlugin>> Plugins() override {
    const auto context = Call("");
    introspection::PluginsResponse response;
    TRY_STATUS(Ended(introspection_->Plugins(context.get(), {}, &response)));
    std::vector<LoadedPlugin> plugins;
    for (const auto& plugin : response.plugins()) {
      LoadedPlugin one{.type = plugin.type(), .id = plugin.id(), .skipped = false, .error = ""};
      if (plugin.has_init_err()) {
        // Its code differs between versions; the text is what ctr goes by, too.
        const std::string& why = plugin.init_err().message();
        one.skipped =
            why.find("skip plugin") != std::string::npos || why.ends_with("not configured");
        one.error =
            plugin.init_err().message().empty() ? "no reason given" : plugin.init_err().message();
      }
      plugins.push_back(std::move(one));
    }
    return plugins;
  }

  Result<std::map<std::string, std::map<std::string, std::string>>> Namespaces() override {
    const auto context = Call("");
    namespaces::ListNamespacesResponse response;
    TRY_STATUS(Ended(namespaces_->List(context.get(), {}, &response)));
    std::map<std::string, std::map<std::string, std::string>> found;
    for (const auto& one : response.namespaces()) {
      found[one.name()] = {one.labels().begin(), one.labels().end()};
    }
    return found;
  }

  Result<std::string> TrySnapshotter(const std::string& ns,
                                     const std::string& snapshotter) override {
    const auto context = Call(ns);
    snapshots::PrepareSnapshotRequest prepare;
    prepare.set_snapshotter(snapshotter);
    prepare.set_key("hearth-doctor-" + std::to_string(::getpid()) + "-" +
                    std::to_string(std::chrono::system_clock::now().time_since_epoch().count()));
    snapshots::PrepareSnapshotResponse prepared;
    TRY_STATUS(Ended(snapshots_->Prepare(context.get(), prepare, &prepared)));
    const auto removal = Call(ns);
    snapshots::RemoveSnapshotRequest remove;
    remove.set_snapshotter(snapshotter);
    remove.set_key(prepare.key());
    google::protobuf::Empty removed;
    const Status gone = Ended(snapshots_->Remove(removal.get(), remove, &removed));
    // No lease holds the snapshot, so a garbage collection that just ran may have taken it.
    if (!gone.ok() && gone.code() != StatusCode::kNotFound) return gone;
    for (const auto& mount : prepared.mounts()) {
      if (mount.type() == "bind") return mount.source();
      for (const auto& option : mount.options()) {
        if (option.starts_with(kUpper)) return option.substr(kUpper.size());
      }
    }
    return std::string();
  }

 private:
  std::unique_ptr<grpc::ClientContext> Call(const std::string& ns) const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + options_.timeout);
    if (!ns.empty()) context->AddMetadata(kNamespaceHeader, ns);
    return context;
  }

  Status Ended(const grpc::Status& ended) const {
    Status status = net::FromGrpc(ended);
    if (status.code() == StatusCode::kDeadlineExceeded) {
      status = Unavailable("no answer within " + FormatDuration(options_.timeout));
    }
    return status.Annotate(options_.address);
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<introspection::Introspection::Stub> introspection_;
  const std::unique_ptr<namespaces::Namespaces::Stub> namespaces_;
  const std::unique_ptr<snapshots::Snapshots::Stub> snapshots_;
  const std::unique_ptr<version::Version::Stub> version_;
};

}  // namespace

std::unique_ptr<InspectClient> InspectClient::Create(Options options) {
  return std::make_unique<GrpcInspectClient>(std::move(options));
}

}  // namespace hearth::plugin
