#include "manager/enroll_service.h"

#include <grpcpp/support/server_callback.h>

#include "base/log.h"
#include "base/metrics.h"
#include "hearth/v1/enroll.grpc.pb.h"
#include "manager/node_profile.h"
#include "net/grpc.h"

namespace hearth::manager {

namespace {

CounterFamily g_enrolments("hearth_manager_enrolments_total", "Certificates asked for by nodes.",
                           {"kind", "code"});

constexpr size_t kMaxClusterBytes = net::kMaxIdentityPartBytes;

class Service final : public v1::Enroll::CallbackService {
 public:
  Service(const Enrolment& enrolment, ThreadPool& workers)
      : enrolment_(enrolment), workers_(workers) {}

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const v1::JoinRequest* request, v1::Membership* answer) override {
    return Run(context, "join", answer, [this, context, request] {
      return enrolment_.Join(*request, net::PeerHost(*context));
    });
  }
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const v1::RenewRequest* request,
                                  v1::Membership* answer) override {
    return Run(context, "renew", answer, [this, context, request]() -> Result<v1::Membership> {
      return enrolment_.Renew(*request, TRY(net::CallerOf(*context)));
    });
  }

 private:
  // Request and answer live until Finish().
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const char* kind,
                                v1::Membership* answer,
                                std::function<Result<v1::Membership>()> work) {
    auto* reactor = context->DefaultReactor();
    const Status queued = workers_.Submit([=, work = std::move(work)] {
      auto granted = work();
      g_enrolments.Add({kind, StatusCodeName(granted.status().code())});
      const Status status = granted.status();
      if (granted.ok()) *answer = *std::move(granted);
      reactor->Finish(net::ToGrpc(status));
    });
    if (!queued.ok()) reactor->Finish(net::ToGrpc(queued));
    return reactor;
  }

  const Enrolment& enrolment_;
  ThreadPool& workers_;
};

}  // namespace

Result<v1::Membership> Enrolment::Join(const v1::JoinRequest& request,
                                       const std::string& from) const {
  const auto wait = options_.throttle.Wait(from);
  if (wait > std::chrono::seconds(0)) {
    return ResourceExhausted("too many failed attempts to join from " + from + " (wait " +
                             std::to_string(wait.count()) + " s)");
  }
  if (request.cluster().size() > kMaxClusterBytes) return InvalidArgument("cluster: too long");
  // Before anything else is looked at: a stranger learns nothing but this.
  if (const Status token = options_.tokens.CheckJoin(request.token(), request.cluster());
      !token.ok()) {
    options_.throttle.Failed(from);
    LOG_WARNING("refused a node",
                {{"from", from}, {"name", request.node().name()}, {"error", token}});
    return token;
  }
  const auto signing = TRY(net::SigningRequest::FromPem(request.signing_request()));
  NodeProfile profile = TRY(ReadProfile(request.node()));
  profile.program_version = request.versions().program();
  const Digest key = signing.PublicKeyHash();
  TRY_STATUS(options_.fleet.CheckEnroll(key, request.cluster(), profile));
  // A use is counted before a certificate exists: a failure after it costs one use, never gives
  // two.
  TRY_STATUS(options_.tokens.UseJoin(request.token(), request.cluster()));
  const Node node = TRY(options_.fleet.Enroll(key, request.cluster(), profile));
  LOG_INFO("a node joined", {{"name", node.profile.name},
                             {"node_id", node.id},
                             {"cluster", node.cluster},
                             {"from", from}});
  return Grant(signing, node);
}

Result<v1::Membership> Enrolment::Renew(const v1::RenewRequest& request,
                                        const net::GrpcTlsPeer& peer) const {
  if (peer.identity.role != net::Role::kNode) {
    return PermissionDenied("only a node's certificate can be renewed here");
  }
  const auto signing = TRY(net::SigningRequest::FromPem(request.signing_request()));
  if (signing.PublicKeyHash() != peer.certificate.PublicKeyHash()) {
    return InvalidArgument("the request is for another key than the certificate's");
  }
  const auto node = options_.fleet.Find(peer.identity.id);
  if (!node.ok()) return NotFound("this manager has forgotten the node (join again)");
  if (node->banned) return PermissionDenied("the node is banned: " + node->ban_reason);
  return Grant(signing, *node);
}

Result<v1::Membership> Enrolment::Grant(const net::SigningRequest& request,
                                        const Node& node) const {
  const auto certificate =
      TRY(options_.ca.IssueNode(request, node.cluster, node.id, node.profile.name));
  v1::Membership out;
  out.set_authority(options_.ca.authority().ToPem());
  out.set_certificate_chain(certificate.ToPem() + out.authority());
  out.set_node_id(node.id);
  out.set_cluster(node.cluster);
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  out.set_not_after_unix_seconds(
      duration_cast<seconds>(certificate.NotAfter().time_since_epoch()).count());
  // Two thirds of a day are left for a manager that is down.
  out.set_renew_after_seconds(
      static_cast<uint32_t>(duration_cast<seconds>(net::kMaxCertificateLife).count() / 3));
  return out;
}

std::shared_ptr<grpc::Service> MakeEnrollService(const Enrolment& enrolment, ThreadPool& workers) {
  return std::make_shared<Service>(enrolment, workers);
}

}  // namespace hearth::manager
