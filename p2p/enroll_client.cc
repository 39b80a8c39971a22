#include "p2p/enroll_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "base/ascii.h"
#include "base/file.h"
#include "hearth/v1/enroll.grpc.pb.h"
#include "net/grpc.h"

namespace hearth::p2p {

namespace {

constexpr std::string_view kTokenPrefix = "hjt_";
constexpr size_t kMaxSecretBytes = 128;
constexpr uint32_t kProtocol = 1;

v1::Versions VersionsOf(const std::string& program) {
  v1::Versions versions;
  versions.set_program(program);
  versions.set_protocol_min(kProtocol);
  versions.set_protocol_max(kProtocol);
  return versions;
}

void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + EnrollClient::kTimeout);
}

// A membership is believed only as far as its certificates prove it.
Result<Joined> Check(const v1::Membership& membership, const net::PrivateKey& key,
                     const net::Certificate& authority) {
  const auto chain = TRY(net::Certificate::ChainFromPem(membership.certificate_chain()));
  const net::Certificate& ours = chain.front();
  TRY_STATUS(ours.CheckIssuedBy(authority, RealClock().WallNow()));
  if (ours.PublicKeyHash() != key.PublicKeyHash()) {
    return DataLoss("the manager answered with a certificate for another key");
  }
  Joined joined{TRY(ours.ReadIdentity()), ours.NotAfter(),
                std::chrono::seconds(membership.renew_after_seconds())};
  if (joined.identity.role != net::Role::kNode) {
    return DataLoss("the manager answered with a certificate that is not a node's");
  }
  return joined;
}

}  // namespace

Result<JoinTokenText> JoinTokenText::Parse(std::string_view text) {
  text = TrimBlanks(text);
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  const size_t dot = text.rfind('.');
  if (text.starts_with(kTokenPrefix) && dot != std::string_view::npos &&
      dot > kTokenPrefix.size() && dot - kTokenPrefix.size() <= kMaxSecretBytes) {
    const auto authority = Digest::FromHex(text.substr(dot + 1));
    if (authority.ok()) {
      return JoinTokenText{
          Secret(std::string(text.substr(kTokenPrefix.size(), dot - kTokenPrefix.size()))),
          *authority};
    }
  }
  return InvalidArgument(
      "not a join token, which is hjt_SECRET.SHA256_OF_THE_CA "
      "(`hearth tokens create --join` prints one)");
}

net::TlsFiles EnrollClient::files() const {
  return {folder_ / "key.pem", folder_ / "certificate.pem", folder_ / "authority.pem"};
}

Result<net::Certificate> EnrollClient::Current() const {
  return net::Certificate::FromPem(
      TRY(ReadFile(files().certificate, net::kMaxChainLength * net::kMaxCertificateBytes)));
}

Result<net::PrivateKey> EnrollClient::Key() const {
  const auto pem = ReadFile(files().key, net::kMaxCertificateBytes);
  if (pem.ok()) return net::PrivateKey::FromPem(*pem).Annotate(files().key.native());
  if (pem.status().code() != StatusCode::kNotFound) return pem.status();
  TRY_STATUS(MakeDirectories(folder_, 0700));
  net::PrivateKey key = net::PrivateKey::Generate();
  TRY_STATUS(WriteFileAtomically(files().key, key.ToPem().Reveal(), 0600));
  return key;
}

Result<Joined> EnrollClient::JoinAt(const std::string& manager, const JoinTokenText& token,
                                    const std::string& cluster, const NodeDescription& node) const {
  const auto authority = TRY(net::FetchAuthority(manager, token.authority, kTimeout));
  const net::PrivateKey key = TRY(Key());
  v1::JoinRequest request;
  request.set_token(token.secret.Reveal());
  request.set_signing_request(net::SigningRequest::MakePem(key));
  request.set_cluster(cluster);
  *request.mutable_versions() = VersionsOf(node.program_version);
  v1::NodeInfo& info = *request.mutable_node();
  info.set_name(node.name);
  for (const auto& [label, value] : node.labels) (*info.mutable_labels())[label] = value;
  info.set_data_address(node.data_address);
  info.set_control_address(node.control_address);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::Membership membership;
  const auto stub = v1::Enroll::NewStub(net::MakeJoinChannel(manager, authority));
  TRY_STATUS(
      net::FromGrpc(stub->Join(&context, request, &membership)).Annotate("manager " + manager));
  Joined joined = TRY(Check(membership, key, authority));
  TRY_STATUS(WriteFileAtomically(files().authority, authority.ToPem(), 0644));
  TRY_STATUS(WriteFileAtomically(files().certificate, membership.certificate_chain(), 0644));
  return joined;
}

Result<Joined> EnrollClient::Join(const std::vector<std::string>& managers,
                                  const JoinTokenText& token, const std::string& cluster,
                                  const NodeDescription& node) const {
  Status last = InvalidArgument("no manager is named (HOST:7781)");
  for (const std::string& manager : managers) {
    auto joined = JoinAt(manager, token, cluster, node);
    if (joined.ok()) return joined;
    last = joined.status();
    const bool elsewhere =
        last.code() == StatusCode::kUnavailable || last.code() == StatusCode::kDeadlineExceeded;
    if (!elsewhere) return last;
  }
  return last;
}

Result<Joined> EnrollClient::Renew(const std::shared_ptr<grpc::Channel>& channel,
                                   const std::string& program_version) const {
  const net::PrivateKey key = TRY(Key());
  const auto authority =
      TRY(net::Certificate::FromPem(TRY(ReadFile(files().authority, net::kMaxCertificateBytes))));
  v1::RenewRequest request;
  request.set_signing_request(net::SigningRequest::MakePem(key));
  *request.mutable_versions() = VersionsOf(program_version);
  grpc::ClientContext context;
  SetDeadline(context);
  v1::Membership membership;
  TRY_STATUS(net::FromGrpc(v1::Enroll::NewStub(channel)->Renew(&context, request, &membership)));
  Joined joined = TRY(Check(membership, key, authority));
  TRY_STATUS(WriteFileAtomically(files().certificate, membership.certificate_chain(), 0644));
  return joined;
}

}  // namespace hearth::p2p
