#include "plugin/diff_service.h"

#include <optional>
#include <string>

#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "plugin/containerd_call.h"
#include "plugin/diff_client.h"
#include "plugin/mount_service.h"
#include "plugin/worker_service.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::diff::v1;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

std::string NamespaceOf(const Context& context) {
  const auto& sent = context.client_metadata();
  const auto found = sent.find(kNamespaceHeader);
  return found == sent.end() ? "" : std::string(found->second.data(), found->second.size());
}

constexpr char kTarMediaType[] = "application/vnd.oci.image.layer.v1.tar";

class Service final : public v1::Diff::CallbackService {
 public:
  explicit Service(const DiffService::Options& options)
      : snapshotter_(options.snapshotter), workers_(options.workers) {
    if (!options.containerd_address.empty()) client_.emplace(options.containerd_address);
  }

  Unary* Apply(Context* context, const v1::ApplyRequest* request,
               v1::ApplyResponse* response) override {
    return new WaitingReactor(
        "Diff.Apply", workers_,
        [this, context, request, response](const std::stop_token& stop,
                                           const WaitingReactor::Finisher& finish) {
          const auto answer = [=, this](const Status& status) {
            // 1.7, where the diff service alone asks us and goes on by itself, sends none.
            const std::string ns = NamespaceOf(*context);
            if (status.code() != StatusCode::kUnimplemented || ns.empty() || !client_ ||
                DiffClient::Passed(*request)) {
              return finish(status);
            }
            client_->Apply(ns, *request, response, stop, finish);
          };
          if (request->payloads_size() > 0) {
            return answer(Unimplemented("hearth runs no stream processors"));
          }
          ApplyRequest apply{request->diff().media_type(), request->diff().digest(),
                             request->diff().size(), FromWireMounts(request->mounts()),
                             request->sync_fs()};
          snapshotter_.Apply(std::move(apply), stop, [response, answer](Result<Applied> applied) {
            if (applied.ok()) {
              response->mutable_applied()->set_media_type(kTarMediaType);
              response->mutable_applied()->set_digest(applied->diff_id.ToString());
              response->mutable_applied()->set_size(applied->tar_bytes);
            }
            answer(applied.status());
          });
        });
  }

  Unary* Diff(Context* context, const v1::DiffRequest*, v1::DiffResponse*) override {
    Unary* reactor = context->DefaultReactor();
    reactor->Finish(net::ToGrpc(Unimplemented(
        "hearth does not compare snapshots (list containerd's \"walking\" differ behind ours)")));
    return reactor;
  }

 private:
  Snapshotter& snapshotter_;
  ThreadPool& workers_;
  std::optional<DiffClient> client_;
};

}  // namespace

DiffService::DiffService(const Options& options) : service_(std::make_shared<Service>(options)) {}

}  // namespace hearth::plugin
