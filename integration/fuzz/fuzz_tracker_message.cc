// Any bytes as messages of a connected node (each with two bytes of length before it): the hub
// refuses or takes each, and goes on answering another node.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "hearth/v1/tracker.pb.h"
#include "kv/kv.h"
#include "manager/tracker_hub.h"

namespace {

using namespace hearth;           // NOLINT: one file
using namespace hearth::manager;  // NOLINT

class CountingLink final : public NodeLink {
 public:
  void Send(const v1::ToNode& message) override {
    CHECK(message.ByteSizeLong() < 1 << 20);
    ++sent;
  }
  void Close(const Status&) override {}
  size_t sent = 0;
};

struct Manager {
  FakeClock clock;
  std::unique_ptr<kv::Kv> kv = kv::MakeMemoryKv();
  std::unique_ptr<Fleet> fleet = Fleet::Open(*kv, clock).value();
  net::PrivateKey ca_key = net::PrivateKey::Generate();
  net::Certificate authority = net::Certificate::MakeAuthority(ca_key, "fuzz", clock.WallNow(),
                                                               std::chrono::hours(24 * 365));
  net::PrivateKey key = net::PrivateKey::Generate();
  net::GrpcTlsPeer peer = Enroll();

  net::GrpcTlsPeer Enroll() {
    NodeProfile profile;
    profile.name = "n";
    const Node node = fleet->Enroll(key.PublicKeyHash(), "default", profile).value();
    const auto request = net::SigningRequest::FromPem(net::SigningRequest::MakePem(key)).value();
    const net::Identity identity{net::Role::kNode, "default", node.id};
    return {identity,
            authority.Issue(ca_key, request, {identity, "n", {}}, clock.WallNow()).value()};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Manager* const manager = new Manager;
  TrackerHub hub({.fleet = *manager->fleet,
                  .authority = manager->authority,
                  .clock = manager->clock,
                  .seed = 1,
                  .program_version = "fuzz",
                  .origin_rate = nullptr});
  v1::Hello hello;
  hello.mutable_versions()->set_protocol_max(1);
  hello.mutable_node()->set_name("n");
  const auto link = std::make_shared<CountingLink>();
  const auto session = hub.Open(manager->peer, hello, link);
  CHECK(session.ok());
  while (size >= 2) {
    const size_t length = std::min<size_t>(size - 2, data[0] | data[1] << 8);
    v1::FromNode message;
    if (message.ParseFromArray(data + 2, static_cast<int>(length))) {
      (void)hub.Receive(*session, message);
      (void)hub.Open(manager->peer, message.hello(), std::make_shared<CountingLink>());
    }
    hub.Tick();
    data += 2 + length;
    size -= 2 + length;
  }
  hub.Closed(*session);
  CHECK(link->sent >= 1);
  return 0;
}
