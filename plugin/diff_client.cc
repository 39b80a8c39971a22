#include "plugin/diff_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "net/grpc.h"
#include "plugin/containerd_call.h"

namespace hearth::plugin {

namespace v1 = containerd::services::diff::v1;

namespace {

// containerd gives each differ the payloads of a request, and the processors only their own.
constexpr char kPassed[] = "hearth/passed-on";
constexpr std::chrono::hours kLimit{6};  // the caller's cancel ends it before

struct Pending {
  Pending(const std::string& address, const std::string& ns, const std::stop_token& stop)
      : call({.address = address, .containerd_namespace = ns, .limit = kLimit}, stop) {}
  v1::ApplyRequest request;
  ContainerdCall call;
};

}  // namespace

DiffClient::DiffClient(std::string address)
    : address_(std::move(address)), channel_(net::MakeUnixChannel(address_)) {}

bool DiffClient::Passed(const v1::ApplyRequest& request) {
  return request.payloads().contains(kPassed);
}

void DiffClient::Apply(const std::string& ns, const v1::ApplyRequest& request,
                       v1::ApplyResponse* response, const std::stop_token& stop,
                       std::function<void(Status)> done) {
  const auto pending = std::make_shared<Pending>(address_, ns, stop);
  pending->request = request;
  (*pending->request.mutable_payloads())[kPassed];
  const auto stub = std::make_shared<v1::Diff::Stub>(channel_);
  stub->async()->Apply(
      pending->call.context(), &pending->request, response,
      [pending, stub, done = std::move(done)](const grpc::Status& ended) {
        done(pending->call.Ended(ended, "apply layer " + pending->request.diff().digest()));
      });
}

}  // namespace hearth::plugin
