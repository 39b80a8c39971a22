#include "plugin/diff_service.h"

#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "plugin/mount_service.h"
#include "plugin/worker_service.h"

namespace hearth::plugin {

namespace {

namespace v1 = containerd::services::diff::v1;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

constexpr char kTarMediaType[] = "application/vnd.oci.image.layer.v1.tar";

class Service final : public v1::Diff::CallbackService {
 public:
  explicit Service(const DiffService::Options& options)
      : snapshotter_(options.snapshotter), workers_(options.workers) {}

  Unary* Apply(Context*, const v1::ApplyRequest* request, v1::ApplyResponse* response) override {
    return new WaitingReactor(
        "Diff.Apply", workers_,
        [this, request, response](std::stop_token stop, WaitingReactor::Finisher finish) {
          if (request->payloads_size() > 0) {
            return finish(Unimplemented("hearth runs no stream processors"));
          }
          ApplyRequest apply{request->diff().media_type(), request->diff().digest(),
                             request->diff().size(), FromWireMounts(request->mounts()),
                             request->sync_fs()};
          snapshotter_.Apply(std::move(apply), stop, [response, finish](Result<Applied> applied) {
            if (applied.ok()) {
              response->mutable_applied()->set_media_type(kTarMediaType);
              response->mutable_applied()->set_digest(applied->diff_id.ToString());
              response->mutable_applied()->set_size(applied->tar_bytes);
            }
            finish(applied.status());
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
};

}  // namespace

DiffService::DiffService(const Options& options) : service_(std::make_shared<Service>(options)) {}

}  // namespace hearth::plugin
