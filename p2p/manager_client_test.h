// TestManager: for tests, a manager that a node can join and connect to, and that does what the
// test says.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hearth/v1/enroll.grpc.pb.h"
#include "hearth/v1/tracker.grpc.pb.h"
#include "net/grpc_tls.h"
#include "p2p/cluster_parts_test.h"
#include "store/faulty.h"

namespace hearth::p2p {

class TestManager {
 public:
  // `authority` outlives this. `papers`: what it shows; `listen`: as before a restart.
  explicit TestManager(const TestAuthority& authority,
                       const TestAuthority::Papers& papers = {.role = net::Role::kManager},
                       const std::string& listen = "127.0.0.1:0")
      : authority_(authority), enroll_(*this), tracker_(*this) {
    const auto member = authority.Issue(scratch_.path(), papers);
    server_ = Must(net::GrpcTlsServer::Start({.listen = listen,
                                              .tls = Must(net::TlsWatch::Start(member.files)),
                                              .services = {&enroll_, &tracker_}}));
  }
  ~TestManager() { server_->Shutdown(std::chrono::milliseconds(0)); }

  const std::string& address() const { return server_->address(); }
  std::string JoinToken() const { return "hjt_secret." + authority_.fingerprint().hex(); }
  // What came since, over all streams.
  std::vector<v1::FromNode> heard() const {
    MutexLock lock(mutex_);
    return heard_;
  }
  // Ends every stream.
  void Cut() {
    MutexLock lock(mutex_);
    for (Conversation* stream : streams_) stream->End();
  }

  std::atomic<int> joins = 0;
  std::atomic<int> renewals = 0;
  std::atomic<int> streams = 0;

 private:
  class EnrollService final : public v1::Enroll::CallbackService {
   public:
    explicit EnrollService(TestManager& manager) : manager_(manager) {}
    grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                   const v1::JoinRequest* request,
                                   v1::Membership* answer) override {
      ++manager_.joins;
      const bool known = request->token() == "secret" && request->cluster() == kLab;
      return Answer(context, known, request->signing_request(), answer);
    }
    grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                    const v1::RenewRequest* request,
                                    v1::Membership* answer) override {
      ++manager_.renewals;
      return Answer(context, true, request->signing_request(), answer);
    }

   private:
    grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, bool known,
                                     const std::string& request, v1::Membership* answer) {
      if (known) answer->set_certificate_chain(manager_.authority_.Sign(request, {}));
      auto* reactor = context->DefaultReactor();
      reactor->Finish(known ? grpc::Status::OK
                            : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no such token"));
      return reactor;
    }
    TestManager& manager_;
  };

  // Says Welcome and listens.
  class Conversation final : public grpc::ServerBidiReactor<v1::FromNode, v1::ToNode> {
   public:
    explicit Conversation(TestManager& manager) : manager_(manager) {
      MutexLock lock(manager_.mutex_);
      manager_.streams_.insert(this);
      welcome_.mutable_welcome()->set_heartbeat_seconds(1);
      StartRead(&incoming_);
    }
    // Under the manager's mutex.
    void End() {
      if (!std::exchange(ended_, true)) Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut"));
    }
    void OnReadDone(bool ok) override {
      MutexLock lock(manager_.mutex_);
      if (!ok) return End();
      manager_.heard_.push_back(incoming_);
      if (ended_) return;
      if (incoming_.has_hello()) StartWrite(&welcome_);
      StartRead(&incoming_);
    }
    void OnDone() override {
      {
        MutexLock lock(manager_.mutex_);
        manager_.streams_.erase(this);
      }
      delete this;
    }

   private:
    TestManager& manager_;
    v1::FromNode incoming_;
    v1::ToNode welcome_;
    bool ended_ = false;
  };

  class TrackerService final : public v1::Tracker::CallbackService {
   public:
    explicit TrackerService(TestManager& manager) : manager_(manager) {}
    grpc::ServerBidiReactor<v1::FromNode, v1::ToNode>* Connect(
        grpc::CallbackServerContext*) override {
      ++manager_.streams;
      return new Conversation(manager_);
    }

   private:
    TestManager& manager_;
  };

  const TestAuthority& authority_;
  const store::Scratch scratch_;
  EnrollService enroll_;
  TrackerService tracker_;
  mutable Mutex mutex_;
  std::vector<v1::FromNode> heard_ GUARDED_BY(mutex_);
  std::set<Conversation*> streams_ GUARDED_BY(mutex_);
  std::unique_ptr<net::GrpcTlsServer> server_;
};

}  // namespace hearth::p2p
