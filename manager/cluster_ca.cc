#include "manager/cluster_ca.h"

#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"

namespace hearth::manager {

namespace {

constexpr std::chrono::hours kAuthorityLife{24 * 3650};
constexpr std::chrono::hours kRenewOwnAfter{8};

std::filesystem::path Folder(const std::filesystem::path& root) { return root / "ca"; }

// The key in `path`, made where there is none.
Result<net::PrivateKey> LoadKey(const std::filesystem::path& path) {
  const auto pem = ReadFile(path, net::kMaxCertificateBytes);
  if (pem.ok()) {
    auto key = net::PrivateKey::FromPem(*pem);
    if (key.ok()) return key;
    return FailedPrecondition(path.native() + ": " + key.status().message());
  }
  if (pem.status().code() != StatusCode::kNotFound) return pem.status();
  net::PrivateKey key = net::PrivateKey::Generate();
  TRY_STATUS(WriteFileAtomically(path, key.ToPem().Reveal(), 0600));
  return key;
}

// Written after its key, and nothing is issued before: a key alone is one of a start cut short.
Result<net::Certificate> LoadAuthority(const std::filesystem::path& path,
                                       const net::PrivateKey& key, WallTime now) {
  const auto pem = ReadFile(path, net::kMaxCertificateBytes);
  if (pem.ok()) {
    auto authority = net::Certificate::FromPem(*pem);
    if (!authority.ok()) {
      return FailedPrecondition(path.native() + ": " + authority.status().message());
    }
    if (authority->PublicKeyHash() == key.PublicKeyHash()) return authority;
    return FailedPrecondition(path.native() +
                              " is not of the key beside it (restore both from one backup)");
  }
  if (pem.status().code() != StatusCode::kNotFound) return pem.status();
  auto authority = net::Certificate::MakeAuthority(key, "Hearth cluster CA", now, kAuthorityLife);
  TRY_STATUS(WriteFileAtomically(path, authority.ToPem(), 0644));
  LOG_INFO("made the cluster's authority",
           {{"file", path.native()}, {"sha256", authority.Fingerprint().hex()}});
  return authority;
}

}  // namespace

Result<std::unique_ptr<ClusterCa>> ClusterCa::Open(Options options) {
  const auto folder = Folder(options.root);
  TRY_STATUS(MakeDirectories(folder, 0700));
  net::PrivateKey key = TRY(LoadKey(folder / "ca.key"));
  auto authority = TRY(LoadAuthority(folder / "ca.pem", key, options.clock.WallNow()));
  std::unique_ptr<ClusterCa> ca(
      new ClusterCa(std::move(options), std::move(key), std::move(authority)));
  TRY_STATUS(ca->RenewOwn());
  return ca;
}

Result<net::Certificate> ClusterCa::IssueNode(const net::SigningRequest& request,
                                              const std::string& cluster, const std::string& id,
                                              const std::string& name) const {
  return authority_.Issue(key_, request, {{net::Role::kNode, cluster, id}, name, {}},
                          options_.clock.WallNow());
}

Status ClusterCa::RenewOwn() {
  const WallTime now = options_.clock.WallNow();
  MutexLock lock(mutex_);
  // A clock that was set back has issued one that is not valid yet.
  if (identity_ != nullptr && now >= own_issued_ && now < own_issued_ + kRenewOwnAfter) {
    return OkStatus();
  }
  const net::TlsFiles where = files();
  const net::PrivateKey key = TRY(LoadKey(where.key));
  const auto request = TRY(net::SigningRequest::FromPem(net::SigningRequest::MakePem(key)));
  net::Certificate::Subject subject{
      {net::Role::kManager, "", key.PublicKeyHash().hex().substr(0, 32)}, "hearth manager", {}};
  subject.hosts = {"localhost", "127.0.0.1", "::1"};
  char name[65] = {};
  if (::gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0') subject.hosts.push_back(name);
  for (const std::string& host : options_.hosts) {
    if (std::ranges::find(subject.hosts, host) == subject.hosts.end()) {
      subject.hosts.push_back(host);
    }
  }
  const auto own = TRY(authority_.Issue(key_, request, subject, now).Annotate("own certificate"));
  const std::string chain = own.ToPem() + authority_.ToPem();
  TRY_STATUS(WriteFileAtomically(where.certificate, chain, 0644));
  own_issued_ = now;
  identity_ = std::make_shared<const net::TlsIdentity>(
      net::TlsIdentity{.certificate_pem = chain, .key_pem = key.ToPem().Reveal(), .ca_pem = ""});
  return OkStatus();
}

net::TlsFiles ClusterCa::files() const {
  const auto folder = Folder(options_.root);
  return {folder / "manager.key", folder / "manager.pem", folder / "ca.pem"};
}

std::shared_ptr<const net::TlsIdentity> ClusterCa::identity() const {
  MutexLock lock(mutex_);
  return identity_;
}

}  // namespace hearth::manager
