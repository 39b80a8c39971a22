#include "manager/tracker_service.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "hearth/v1/enroll.grpc.pb.h"
#include "hearth/v1/tracker.grpc.pb.h"
#include "manager/manager_for_test.h"
#include "manager/node_stream_service.h"
#include "net/grpc.h"

namespace hearth::manager {
namespace {

using std::chrono::seconds;

// The real servers and clients, on loopback.
class TrackerServiceTest : public ManagerTest {
 protected:
  TrackerServiceTest() {
    // TLS looks at the machine's clock.
    clock_.JumpWall(RealClock().WallNow() - clock_.WallNow());
    Reopen();
    hub_ = std::make_unique<TrackerHub>(TrackerHub::Options{.fleet = *fleet_,
                                                            .authority = ca_->authority(),
                                                            .clock = clock_,
                                                            .seed = 1,
                                                            .program_version = "0.1.0",
                                                            .origin_rate = nullptr});
    enroll_ = MakeEnrollService(*enrolment_, workers_);
    tracker_ = MakeTrackerService(*hub_);
    server_ = net::GrpcTlsServer::Start({.listen = "127.0.0.1:0",
                                         .tls = net::TlsWatch::Start(ca_->files()).value(),
                                         .services = {enroll_.get(), tracker_.get()}})
                  .value();
  }

  std::shared_ptr<grpc::Channel> ChannelOf(const Member& member) {
    const net::TlsFiles files{root_ / (member.name + ".key"), root_ / (member.name + ".crt"),
                              root_ / "ca/ca.pem"};
    CHECK(WriteFileAtomically(files.key, member.key.ToPem().Reveal(), 0600).ok());
    CHECK(WriteFileAtomically(files.certificate, member.chain).ok());
    return net::MakeTlsChannel(server_->address(), net::TlsWatch::Start(files).value(),
                               {net::Role::kManager, ""});
  }

  struct Stream {
    std::shared_ptr<grpc::Channel> channel;
    grpc::ClientContext context;
    std::unique_ptr<v1::Tracker::Stub> stub;
    std::unique_ptr<grpc::ClientReaderWriter<v1::FromNode, v1::ToNode>> call;
    v1::ToNode last;

    explicit Stream(std::shared_ptr<grpc::Channel> to)
        : channel(std::move(to)), stub(v1::Tracker::NewStub(channel)) {
      context.set_deadline(std::chrono::system_clock::now() + seconds(20));
      call = stub->Connect(&context);
    }
    bool SayHello(const std::string& name) {
      v1::FromNode message;
      message.mutable_hello()->mutable_versions()->set_protocol_max(1);
      message.mutable_hello()->mutable_node()->set_name(name);
      return call->Write(message) && call->Read(&last) && last.has_welcome();
    }
    Status End() {
      while (call->Read(&last)) {
      }
      return net::FromGrpc(call->Finish());
    }
  };

  std::unique_ptr<TrackerHub> hub_;
  std::shared_ptr<grpc::Service> enroll_;
  std::shared_ptr<grpc::Service> tracker_;
  // Ends before the services that it works for.
  ThreadPool workers_{{.name = "enrol", .threads = 2, .queue_limit = 16}};
  std::unique_ptr<net::GrpcTlsServer> server_;
};

TEST_F(TrackerServiceTest, AStreamBeginsWithHelloAndEndsWhenTheNodeSaysSo) {
  Stream stream(ChannelOf(JoinNode("n1")));
  ASSERT_TRUE(stream.SayHello("n1"));
  EXPECT_TRUE(fleet_->FindByName("n1")->connected);
  stream.call->WritesDone();
  EXPECT_EQ(stream.End().code(), StatusCode::kCancelled);
  const Deadline deadline = Deadline::After(seconds(10));
  while (fleet_->FindByName("n1")->connected && !deadline.Passed()) {
    std::this_thread::yield();
  }
  EXPECT_FALSE(fleet_->FindByName("n1")->connected);
}

TEST_F(TrackerServiceTest, WhoHasNoCertificateOrSaysSomethingElseFirstIsRefused) {
  Stream nobody(net::MakeJoinChannel(server_->address(), ca_->authority()));
  EXPECT_FALSE(nobody.SayHello("n1"));
  EXPECT_EQ(nobody.End().code(), StatusCode::kUnauthenticated);
  Stream rude(ChannelOf(JoinNode("n1")));
  v1::FromNode message;
  (void)message.mutable_heartbeat();
  rude.call->Write(message);
  EXPECT_EQ(rude.End().code(), StatusCode::kInvalidArgument);
}

TEST_F(TrackerServiceTest, ABanReachesTheOthersAndEndsTheStream) {
  const Member liar = JoinNode("liar");
  Stream banned(ChannelOf(liar));
  Stream other(ChannelOf(JoinNode("n1")));
  ASSERT_TRUE(banned.SayHello("liar"));
  ASSERT_TRUE(other.SayHello("n1"));
  ASSERT_EQ(hub_->SetBan(liar.id, true, "test"), OkStatus());
  EXPECT_EQ(banned.End().code(), StatusCode::kPermissionDenied);
  ASSERT_TRUE(other.call->Read(&other.last));
  EXPECT_EQ(other.last.bans().banned(0), liar.id);
}

TEST_F(TrackerServiceTest, ANodeThatDoesNotReadIsClosedAndHoldsNoMemory) {
  Stream slow(ChannelOf(JoinNode("n1")));
  ASSERT_TRUE(slow.SayHello("n1"));
  const Member liar = JoinNode("liar");
  // Each ban and unban is a message; the node's windows fill, then its queue.
  for (size_t i = 0; i < 40 * kMaxQueuedMessages && fleet_->FindByName("n1")->connected; ++i) {
    ASSERT_EQ(hub_->SetBan(liar.id, i % 2 == 0, "test"), OkStatus());
    if (i > kMaxQueuedMessages) hub_->Tick();
  }
  EXPECT_FALSE(fleet_->FindByName("n1")->connected);
  EXPECT_FALSE(slow.End().ok());
}

TEST_F(TrackerServiceTest, OversizedMessagesEndTheStream) {
  Stream stream(ChannelOf(JoinNode("n1")));
  ASSERT_TRUE(stream.SayHello("n1"));
  v1::FromNode message;
  message.mutable_inventory()->set_added(std::string(2 << 20, 'x'));
  stream.call->Write(message);
  EXPECT_FALSE(stream.End().ok());
}

TEST_F(TrackerServiceTest, StoppingEndsEveryStream) {
  Stream stream(ChannelOf(JoinNode("n1")));
  ASSERT_TRUE(stream.SayHello("n1"));
  hub_->CloseAll(Unavailable("stopping"));
  EXPECT_EQ(stream.End().code(), StatusCode::kUnavailable);
  server_->Shutdown(seconds(1));
}

TEST_F(TrackerServiceTest, JoinsAndRenewsOverTheWire) {
  const net::PrivateKey key = net::PrivateKey::Generate();
  const auto stub = v1::Enroll::NewStub(net::MakeJoinChannel(server_->address(), ca_->authority()));
  v1::Membership membership;
  {
    grpc::ClientContext context;
    const auto request = JoinRequest(JoinSecret(), "n1", key);
    ASSERT_TRUE(stub->Join(&context, request, &membership).ok());
  }
  v1::RenewRequest renew;
  renew.set_signing_request(net::SigningRequest::MakePem(key));
  {
    grpc::ClientContext context;
    EXPECT_EQ(net::FromGrpc(stub->Renew(&context, renew, &membership)).code(),
              StatusCode::kUnauthenticated);
  }
  const auto mine = v1::Enroll::NewStub(
      ChannelOf({key, "n1", membership.certificate_chain(), membership.node_id()}));
  grpc::ClientContext context;
  EXPECT_TRUE(mine->Renew(&context, renew, &membership).ok());
}

}  // namespace
}  // namespace hearth::manager
