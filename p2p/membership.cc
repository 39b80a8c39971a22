#include "p2p/membership.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/log.h"

namespace hearth::p2p {

namespace {

constexpr size_t kNodeIdDigits = 32;  // of the sha256 of the public key
constexpr uint64_t kMaxTokenFileBytes = 4 * 1024;
constexpr uint64_t kMaxPemBytes = net::kMaxChainLength * net::kMaxCertificateBytes;

}  // namespace

Membership::Membership(Options options, std::string node_id)
    : options_(std::move(options)), node_id_(std::move(node_id)), client_(options_.folder) {}

Result<std::unique_ptr<Membership>> Membership::Open(Options options) {
  const auto key = TRY(EnrollClient(options.folder).Key());
  auto membership = std::unique_ptr<Membership>(
      new Membership(std::move(options), key.PublicKeyHash().hex().substr(0, kNodeIdDigits)));
  (void)membership->Load();  // what is not there, or no longer good, the thread gets
  return membership;
}

Membership::~Membership() { Stop(); }

void Membership::Start() {
  thread_ = std::thread([this] {
    NameThread("membership");
    Run();
  });
}

void Membership::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<const net::TlsIdentity> Membership::identity() const {
  MutexLock lock(mutex_);
  return identity_;
}

Status Membership::state() const {
  MutexLock lock(mutex_);
  return state_;
}

Result<WallTime> Membership::Load() {
  const net::TlsFiles files = client_.files();
  auto identity = std::make_shared<net::TlsIdentity>();
  identity->key_pem = TRY(ReadFile(files.key, kMaxPemBytes));
  identity->certificate_pem = TRY(ReadFile(files.certificate, kMaxPemBytes));
  identity->ca_pem = TRY(ReadFile(files.authority, kMaxPemBytes));
  const auto certificate = TRY(net::Certificate::FromPem(identity->certificate_pem));
  const auto authority = TRY(net::Certificate::FromPem(identity->ca_pem));
  TRY_STATUS(certificate.CheckIssuedBy(authority, RealClock().WallNow()));
  const auto own = TRY(certificate.ReadIdentity());
  if (own.id != node_id_ || own.cluster != options_.cluster) {
    return FailedPrecondition("the certificate in " + options_.folder.native() + " is of node " +
                              own.id + " of cluster " + own.cluster + ", this node is " + node_id_ +
                              " of cluster " + options_.cluster);
  }
  MutexLock lock(mutex_);
  identity_ = std::move(identity);
  state_ = OkStatus();
  return certificate.NotAfter();
}

Status Membership::Join() {
  if (options_.join_token_file.empty()) {
    return FailedPrecondition(
        "this node has no certificate of the cluster (set manager.join_token_file, or run `hearth "
        "node join`)");
  }
  const auto text = TRY(
      ReadFile(options_.join_token_file, kMaxTokenFileBytes).Annotate("manager.join_token_file"));
  const auto token = TRY(JoinTokenText::Parse(text).Annotate("manager.join_token_file"));
  TRY_STATUS(client_.Join(options_.managers, token, options_.cluster, options_.node));
  LOG_INFO("joined the cluster", {{"cluster", options_.cluster}, {"node", node_id_}});
  return OkStatus();
}

Status Membership::Renew() {
  const auto tls = TRY(net::TlsWatch::Start(client_.files()));
  Status status;
  for (const std::string& manager : options_.managers) {
    const auto channel = net::MakeTlsChannel(manager, tls, {.role = net::Role::kManager, .id = ""});
    status = client_.Renew(channel, options_.node.program_version).status();
    if (status.ok()) return status;
  }
  return status;
}

void Membership::Run() {
  bool told = false;
  std::chrono::seconds pause = kFirstRetry;
  while (true) {
    const WallTime now = RealClock().WallNow();
    const auto good_until = Load();
    if (good_until.ok() && !std::exchange(told, true)) options_.joined();
    // A third of the life is left for managers that do not answer.
    const auto third = net::kMaxCertificateLife / 3;
    if (good_until.ok() && *good_until - now > third) {
      pause = kFirstRetry;
      const auto rest = std::chrono::duration_cast<std::chrono::seconds>(*good_until - now - third);
      if (!Sleep(std::min(rest + kFirstRetry, std::chrono::seconds(600)))) return;
      continue;
    }
    const Status status = good_until.ok() ? Renew() : Join();
    if (status.ok()) continue;
    LOG_WARNING(good_until.ok() ? "certificate not renewed yet" : "not in the cluster yet",
                {{"error", status}});
    {
      MutexLock lock(mutex_);
      if (!good_until.ok()) {
        identity_ = nullptr;
        state_ = status;
      }
    }
    if (!Sleep(pause)) return;
    pause = std::min(2 * pause, kRetry);
  }
}

bool Membership::Sleep(std::chrono::seconds time) {
  const SteadyTime until = std::chrono::steady_clock::now() + time;
  MutexLock lock(mutex_);
  while (!stopping_ && changed_.WaitUntil(mutex_, until)) {
  }
  return !stopping_;
}

}  // namespace hearth::p2p
