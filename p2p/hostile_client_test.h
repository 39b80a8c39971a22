// HostilePeer: for tests, another member of the cluster, or a stranger, that says and serves over
// real ports whatever the test wants.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "hearth/v1/neighbour.grpc.pb.h"
#include "net/grpc.h"
#include "net/grpc_tls.h"
#include "net/http_server.h"
#include "p2p/attester.h"
#include "p2p/cluster_fixture_test.h"
#include "p2p/neighbour_stream.h"

namespace hearth::p2p {

// The end of a body that a test chooses: what was not sent yet never comes.
class HostileBody final : public net::BodySource {
 public:
  enum class End : uint8_t { kCut, kSilence, kTrickle };
  HostileBody(std::string data, End end, TimerQueue& timers)
      : data_(std::move(data)), end_(end), timers_(timers) {}

  void Next(std::function<void(Result<net::BodyChunk>)> ready) override {
    net::BodyChunk chunk;
    if (!data_.empty()) {
      chunk.data = std::exchange(data_, "");
      return ready(std::move(chunk));
    }
    if (end_ == End::kCut) return ready(Unavailable("cut"));
    if (end_ == End::kSilence) {
      kept_ = std::move(ready);
      return;
    }
    chunk.data = "x";
    timers_.At(std::chrono::steady_clock::now() + std::chrono::seconds(1),
               [ready = std::move(ready), chunk] { ready(chunk); });
  }

 private:
  std::string data_;
  const End end_;
  TimerQueue& timers_;
  std::function<void(Result<net::BodyChunk>)> kept_;
};

class HostilePeer {
 public:
  // Answers a piece request; `at` and `size` are the bytes that were asked for.
  using Answer = std::function<net::ServerResponse(HostilePeer& self, uint64_t at, uint64_t size)>;

  HostilePeer(TestAuthority::Member member, Answer answer)
      : member_(std::move(member)),
        answer_(std::move(answer)),
        attester_({.identity = [this] { return member_.identity; }, .cluster = kLab}),
        server_(Must(net::HttpServer::Start(
            {.listen = "127.0.0.1:0", .tls = [this] { return member_.identity; }},
            [this](const net::ServerRequest& request, const net::HttpServer::Respond& respond) {
              const auto range = ParsePieceRequest(request.path, request.headers.Get("Range"));
              ++asked_;
              if (!range.ok() || !answer_) return respond(Refusal(400));
              respond(answer_(*this, range->begin_bytes, range->end_bytes - range->begin_bytes));
            }))) {}
  ~HostilePeer() {
    if (context_) context_->TryCancel();
    if (reader_.joinable()) reader_.join();
    server_->Stop(std::chrono::milliseconds(0));
  }

  const std::string& id() const { return member_.id; }
  std::string data_address() const { return server_->address(); }
  // Piece requests that came.
  int asked() const { return asked_; }

  static net::ServerResponse Refusal(int status) {
    net::ServerResponse response;
    response.status = status;
    return response;
  }
  // A 206 for what was asked for, with this body.
  static net::ServerResponse Piece(uint64_t at, uint64_t size) {
    net::ServerResponse response;
    response.status = 206;
    response.headers.Set("Content-Range", "bytes " + std::to_string(at) + "-" +
                                              std::to_string(at + size - 1) + "/*");
    response.content_length = size;
    return response;
  }
  static net::ServerResponse Piece(uint64_t at, uint64_t size, std::string body) {
    net::ServerResponse response = Piece(at, size);
    response.body = std::move(body);
    return response;
  }
  net::ServerResponse Piece(uint64_t at, uint64_t size, std::string body, HostileBody::End end) {
    net::ServerResponse response = Piece(at, size);
    response.body = std::make_shared<HostileBody>(std::move(body), end, timers_);
    return response;
  }

  // Opens a stream to the node's control port and says hello. False: the node refused.
  bool Connect(const TestNode& node) {
    if (context_) context_->TryCancel();
    if (reader_.joinable()) reader_.join();
    const auto channel = net::MakeTlsChannel(
        node.control->address(), Must(net::TlsWatch::Start(member_.files)),
        {.role = net::Role::kNode, .id = node.member.id}, kMaxNeighbourMessageBytes * 4);
    return Open(channel);
  }
  // False: the stream has ended.
  bool Say(const v1::NeighbourMessage& message) { return call_->Write(message); }
  // Wants the blob and promises and attests these pieces of it.
  bool Promise(const Digest& blob, uint64_t size, uint32_t first, const std::vector<Digest>& sums) {
    v1::NeighbourMessage interest;
    interest.mutable_interest()->set_blob(ToRaw(blob));
    interest.mutable_interest()->set_size_bytes(size);
    v1::NeighbourMessage attestation;
    *attestation.mutable_attestation() = Must(attester_.Sign(blob, size, PieceIndex{first}, sums));
    return Say(interest) && Say(attestation) && Have(blob, first, sums);
  }
  bool Have(const Digest& blob, uint32_t first, const std::vector<Digest>& sums) {
    v1::NeighbourMessage have;
    have.mutable_have()->set_blob(ToRaw(blob));
    have.mutable_have()->set_first(first);
    for (const Digest& sum : sums) have.mutable_have()->mutable_sums()->append(ToRaw(sum));
    return Say(have);
  }
  // Goes without a word.
  void Vanish() {
    context_->TryCancel();
    if (reader_.joinable()) reader_.join();
  }
  // Waits until the node ends the stream, and says why it did.
  Status End() {
    if (reader_.joinable()) reader_.join();
    return end_;
  }
  std::vector<v1::NeighbourMessage> heard() const {
    MutexLock lock(mutex_);
    return heard_;
  }

 private:
  bool Open(const std::shared_ptr<grpc::Channel>& channel) {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
    stub_ = v1::NeighbourControl::NewStub(channel);
    call_ = stub_->Exchange(context_.get());
    v1::NeighbourMessage hello;
    hello.mutable_hello()->mutable_versions()->set_protocol_min(1);
    hello.mutable_hello()->mutable_versions()->set_protocol_max(1);
    hello.mutable_hello()->set_name("hostile");
    hello.mutable_hello()->set_data_address(data_address());
    v1::NeighbourMessage answer;
    const bool greeted = call_->Write(hello) && call_->Read(&answer) && answer.has_hello();
    reader_ = std::thread([this] {
      v1::NeighbourMessage message;
      while (call_->Read(&message)) {
        MutexLock lock(mutex_);
        heard_.push_back(message);
      }
      end_ = net::FromGrpc(call_->Finish());
    });
    if (!greeted) reader_.join();
    return greeted;
  }

  const TestAuthority::Member member_;
  const Answer answer_;
  TimerQueue timers_;
  Attester attester_;
  std::atomic<int> asked_ = 0;
  std::unique_ptr<net::HttpServer> server_;

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<v1::NeighbourControl::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::NeighbourMessage, v1::NeighbourMessage>> call_;
  std::thread reader_;
  Status end_;  // of reader_
  mutable Mutex mutex_;
  std::vector<v1::NeighbourMessage> heard_ GUARDED_BY(mutex_);
};

}  // namespace hearth::p2p
