// Any bytes as messages of a node that takes orders (each with two bytes of length before it): the
// hub refuses or takes each, and a job of another node is not touched by them.
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "hearth/v1/orders.pb.h"
#include "kv/kv.h"
#include "manager/order_hub.h"

namespace {

using namespace hearth;           // NOLINT: one file
using namespace hearth::manager;  // NOLINT

class SilentLink final : public OrderLink {
 public:
  void Send(const v1::OrdersToNode& message) override { CHECK(message.ByteSizeLong() < 1 << 20); }
  void Close(const Status&) override {}
};

struct World {
  FakeClock clock;
  std::unique_ptr<kv::Kv> kv = kv::MakeMemoryKv();
  std::unique_ptr<Fleet> fleet = Fleet::Open(*kv, clock).value();
  net::PrivateKey ca_key = net::PrivateKey::Generate();
  net::Certificate authority = net::Certificate::MakeAuthority(ca_key, "fuzz", clock.WallNow(),
                                                               std::chrono::hours(24 * 365));
  net::GrpcTlsPeer peer = Enroll("a");
  net::GrpcTlsPeer other = Enroll("b");

  net::GrpcTlsPeer Enroll(const std::string& name) {
    const net::PrivateKey key = net::PrivateKey::Generate();
    NodeProfile profile;
    profile.name = name;
    const Node node = fleet->Enroll(key.PublicKeyHash(), "default", profile).value();
    const auto request = net::SigningRequest::FromPem(net::SigningRequest::MakePem(key)).value();
    const net::Identity identity{net::Role::kNode, "default", node.id};
    return {identity,
            authority.Issue(ca_key, request, {identity, name, {}}, clock.WallNow()).value()};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SetLogLevel(LogLevel::kError);
  static World* const world = new World;
  static Sealer* const sealer = [] {
    char name[] = "/tmp/hearth-fuzz-XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    return Sealer::Open(std::string(name) + "/key", true).value().release();
  }();
  const auto kv = kv::MakeMemoryKv();
  JobStore store(*kv);
  const auto hub =
      OrderHub::Open(
          {.fleet = *world->fleet, .store = store, .sealer = *sealer, .clock = world->clock})
          .value();
  v1::OrdersHello hello;
  hello.mutable_versions()->set_protocol_max(1);
  const auto session = hub->Open(world->peer, hello, std::make_shared<SilentLink>()).value();
  JobRequest request;
  request.spec.items.push_back(ParseImageUrl("r.example/a:v").value());
  const JobId id = hub->Create(request, {}).value();
  while (size >= 2) {
    const size_t length = std::min<size_t>(data[0] * 256u + data[1], size - 2);
    v1::OrdersFromNode message;
    if (message.ParseFromArray(data + 2, static_cast<int>(length))) {
      (void)hub->Receive(session, message);
    }
    data += 2 + length;
    size -= 2 + length;
  }
  hub->Tick();
  CHECK(hub->Read(id,
                  [](const Job& job) {
                    CHECK(job.state == JobState::kPending);
                    for (const Target& target : job.targets) {
                      if (target.name == "b") CHECK(target.state == TargetState::kWaiting);
                    }
                  })
            .ok());
  return 0;
}
