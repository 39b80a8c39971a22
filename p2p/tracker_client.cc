#include "p2p/tracker_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "hearth/v1/tracker.grpc.pb.h"
#include "net/grpc.h"

namespace hearth::p2p {

namespace {

constexpr size_t kDigestsPerInventory = 16'384;

}  // namespace

struct TrackerClient::Stream {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriterInterface<v1::FromNode, v1::ToNode>> call;
};

TrackerClient::TrackerClient(Options options)
    : options_(std::move(options)), thread_([this] {
        NameThread("tracker");
        Run();
      }) {}

TrackerClient::~TrackerClient() { Stop(); }

void TrackerClient::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (stream_ != nullptr) stream_->context.TryCancel();
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool TrackerClient::connected() const {
  MutexLock lock(mutex_);
  return connected_;
}

Status TrackerClient::state() const {
  MutexLock lock(mutex_);
  return state_;
}

void TrackerClient::Send(const v1::FromNode& message) {
  MutexLock lock(mutex_);
  if (!connected_) return;
  if (queue_.size() >= kMaxQueued) {
    overflow_ = true;
    if (stream_ != nullptr) stream_->context.TryCancel();
    return;
  }
  queue_.push_back(message);
  changed_.NotifyAll();
}

void TrackerClient::Run() {
  std::minstd_rand random(std::random_device{}());
  std::chrono::milliseconds pause = kFirstPause;
  for (size_t next = 0;; ++next) {
    const std::string& address = options_.addresses[next % options_.addresses.size()];
    const SteadyTime began = std::chrono::steady_clock::now();
    const Status status = Follow(address).Annotate("manager at " + address);
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      state_ = status.ok() ? Unavailable("the stream ended") : status;
    }
    LOG_WARNING("no stream to the manager; transfers go on without it", {{"error", status}});
    if (std::chrono::steady_clock::now() - began > kLastPause) pause = kFirstPause;
    const auto jitter =
        std::chrono::milliseconds(random() % (static_cast<unsigned>(pause.count()) / 2 + 1));
    if (!WaitToRetry(pause / 2 + jitter)) return;
    pause = std::min(2 * pause, kLastPause);
  }
}

bool TrackerClient::WaitToRetry(std::chrono::milliseconds pause) {
  const SteadyTime until = std::chrono::steady_clock::now() + pause;
  MutexLock lock(mutex_);
  while (!stopping_ && changed_.WaitUntil(mutex_, until)) {
  }
  return !stopping_;
}

Status TrackerClient::Follow(const std::string& address) {
  const auto channel = options_.channels.To(address);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectTimeout)) {
    return Unavailable("cannot connect");
  }
  const auto stub = v1::Tracker::NewStub(channel);
  Stream stream;
  stream.call = stub->Connect(&stream.context);
  {
    MutexLock lock(mutex_);
    if (stopping_) return OkStatus();
    stream_ = &stream;
    queue_.clear();
    overflow_ = false;
    stream_ended_ = false;
  }
  v1::FromNode hello;
  *hello.mutable_hello()->mutable_node() = options_.node;
  hello.mutable_hello()->mutable_versions()->set_program(options_.program);
  hello.mutable_hello()->mutable_versions()->set_protocol_min(kProtocol);
  hello.mutable_hello()->mutable_versions()->set_protocol_max(kProtocol);
  v1::ToNode message;
  std::thread sender;
  if (stream.call->Write(hello) && stream.call->Read(&message) && message.has_welcome()) {
    const auto beat = std::chrono::seconds(
        std::clamp<int64_t>(message.welcome().heartbeat_seconds(), 1, kMaxHeartbeat.count()));
    options_.cluster.OnTracker(message);
    {
      MutexLock lock(mutex_);
      connected_ = true;
      state_ = OkStatus();
    }
    LOG_INFO("connected to the manager", {{"address", address}});
    sender = std::thread([this, &stream, beat] {
      NameThread("tracker-send");
      SendLoop(stream, beat);
    });
    options_.cluster.OnTrackerUp();
    while (stream.call->Read(&message)) options_.cluster.OnTracker(message);
  }
  {
    MutexLock lock(mutex_);
    connected_ = false;
    stream_ended_ = true;
    changed_.NotifyAll();
  }
  stream.context.TryCancel();
  if (sender.joinable()) {
    sender.join();
    options_.cluster.OnTrackerDown();
  }
  const Status status = net::FromGrpc(stream.call->Finish());
  MutexLock lock(mutex_);
  stream_ = nullptr;
  return overflow_ ? ResourceExhausted("too many messages wait") : status;
}

void TrackerClient::SendLoop(Stream& stream, std::chrono::seconds heartbeat) {
  SayInventory(stream, true);
  SteadyTime next_beat = std::chrono::steady_clock::now();
  while (true) {
    v1::FromNode message;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stream_ended_ && std::chrono::steady_clock::now() < next_beat) {
        changed_.WaitUntil(mutex_, next_beat);
      }
      if (stream_ended_) return;
      if (!queue_.empty()) {
        message = std::move(queue_.front());
        queue_.pop_front();
      }
    }
    bool written = true;
    if (message.what_case() != v1::FromNode::WHAT_NOT_SET) {
      NoteTold(message.inventory());
      written = stream.call->Write(message);
    }
    if (std::chrono::steady_clock::now() >= next_beat) {
      next_beat = std::chrono::steady_clock::now() + heartbeat;
      SayInventory(stream, false);
      *message.mutable_heartbeat() = options_.heartbeat();
      written = stream.call->Write(message);
    }
    if (!written) return;  // the reading side sees why
  }
}

// A blob that came in may be gone again by the next heartbeat, which then must take it back.
void TrackerClient::NoteTold(const v1::Inventory& inventory) {
  const std::string& added = inventory.added();
  for (size_t at = 0; at + Digest::kBytes <= added.size(); at += Digest::kBytes) {
    if (const auto digest = FromRaw(std::string_view(added).substr(at, Digest::kBytes)))
      told_.insert(*digest);
  }
}

// What is complete here; after the first time, only what changed since.
void TrackerClient::SayInventory(Stream& stream, bool whole) {
  std::set<Digest> held;
  const Status listed = options_.blobs.List([&](const store::BlobInfo& blob) {
    if (!options_.may_share || options_.may_share(blob.digest)) held.insert(blob.digest);
    return true;
  });
  if (!listed.ok()) {
    LOG_WARNING("the manager is not told what is here", {{"error", listed}});
    return;
  }
  if (whole) told_.clear();
  std::vector<Digest> added;
  std::vector<Digest> removed;
  std::ranges::set_difference(held, told_, std::back_inserter(added));
  std::ranges::set_difference(told_, held, std::back_inserter(removed));
  told_ = std::move(held);
  bool first = whole;
  for (size_t a = 0, r = 0; first || a < added.size() || r < removed.size();) {
    v1::FromNode message;
    v1::Inventory& inventory = *message.mutable_inventory();
    inventory.set_first(std::exchange(first, false));
    for (size_t n = 0; a < added.size() && n < kDigestsPerInventory; ++n, ++a) {
      inventory.mutable_added()->append(ToRaw(added[a]));
    }
    for (size_t n = 0; r < removed.size() && n < kDigestsPerInventory; ++n, ++r) {
      inventory.mutable_removed()->append(ToRaw(removed[r]));
    }
    inventory.set_last(whole && a == added.size());
    if (!stream.call->Write(message)) return;
  }
}

}  // namespace hearth::p2p
