// TrackerClient: the stream to the manager's tracker; kept open, opened again after a loss.
//
// A thread of its own reads and reconnects, another one sends. After each Welcome the node says
// everything again: what it holds, and (by the Cluster) what it wants. Any thread may call.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "hearth/v1/tracker.pb.h"
#include "net/grpc_tls.h"
#include "p2p/cluster.h"
#include "p2p/links.h"

namespace hearth::p2p {

class TrackerClient final : public TrackerLink {
 public:
  static constexpr uint32_t kProtocol = 1;
  static constexpr size_t kMaxQueued = 16'384;  // beyond it the stream is opened anew
  static constexpr std::chrono::milliseconds kFirstPause{500};
  static constexpr std::chrono::milliseconds kLastPause{30'000};
  static constexpr std::chrono::seconds kConnectTimeout{5};
  static constexpr std::chrono::seconds kMaxHeartbeat{30};

  struct Options {
    std::vector<std::string> addresses;  // "HOST:PORT" of managers, tried in turn
    net::TlsChannels& channels;
    Cluster& cluster;
    store::BlobStore& blobs;
    v1::NodeInfo node;
    std::string program;  // our version, for people
    std::function<v1::Heartbeat()> heartbeat;
    // False: the blob is not told of. Null: all are.
    std::function<bool(const Digest&)> may_share = nullptr;
  };
  explicit TrackerClient(Options options);
  ~TrackerClient() override;

  bool connected() const override;
  void Send(const v1::FromNode& message) override;
  // Ends the stream and the threads. Idempotent.
  void Stop();

  // For `doctor` and the status: why there is no stream; OK while there is one.
  Status state() const;

 private:
  struct Stream;

  void Run();
  // One stream, from its beginning to its end.
  Status Follow(const std::string& address);
  void SendLoop(Stream& stream, std::chrono::seconds heartbeat);
  void SayInventory(Stream& stream, bool whole);
  void NoteTold(const v1::Inventory& inventory);
  bool WaitToRetry(std::chrono::milliseconds pause);

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<v1::FromNode> queue_ GUARDED_BY(mutex_);
  bool connected_ GUARDED_BY(mutex_) = false;
  bool stream_ended_ GUARDED_BY(mutex_) = true;
  bool overflow_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Stream* stream_ GUARDED_BY(mutex_) = nullptr;
  Status state_ GUARDED_BY(mutex_) = Unavailable("not connected yet");
  std::set<Digest> told_;  // of the sending thread: what the manager was told we hold
  std::thread thread_;
};

}  // namespace hearth::p2p
