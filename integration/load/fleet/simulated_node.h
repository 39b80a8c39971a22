// SimulatedNode: as much of a node as a manager sees: it joins with a key of its own, says what it
// holds, beats, and reports orders as done. It moves no bytes. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "fleet/client_stream.h"
#include "hearth/v1/orders.pb.h"
#include "hearth/v1/tracker.pb.h"
#include "net/grpc_tls.h"

namespace hearth::load {

class SimulatedNode {
 public:
  struct Options {
    size_t number = 0;
    std::string manager;           // "HOST:7781"
    std::filesystem::path folder;  // of its key and certificate
    const std::vector<Digest>& held;
    // An order arrived. True: it is reported as done at once.
    std::function<bool(uint64_t job)> ordered;
    // A stream is lost, and why.
    std::function<void(const std::string& why)> ended;
    // The tracker answered a join.
    std::function<void()> answered;
  };
  explicit SimulatedNode(Options options) : options_(std::move(options)) {}

  // Blocks. `token` is a join token's text; not used where there is a certificate already.
  Status Join(const std::string& token);
  // Opens those of its streams that are not there.
  void Connect() EXCLUDES(mutex_);
  bool connected() const EXCLUDES(mutex_);
  void Beat() EXCLUDES(mutex_);
  void JoinBlob(const Digest& blob, uint64_t size_bytes) EXCLUDES(mutex_);
  // Of an order that is held back. False: there is none.
  bool Progress(uint64_t job, uint64_t bytes_done, uint64_t bytes_total) EXCLUDES(mutex_);
  bool Report(uint64_t job) EXCLUDES(mutex_);
  void Stop() EXCLUDES(mutex_);

 private:
  using Tracker = ClientStream<v1::FromNode, v1::ToNode>;
  using Orders = ClientStream<v1::OrdersFromNode, v1::OrdersToNode>;

  std::string Name() const;
  v1::NodeInfo Info() const;
  void OpenTracker() REQUIRES(mutex_);
  void OpenOrders() REQUIRES(mutex_);
  void HearTracker(const v1::ToNode& message) EXCLUDES(mutex_);
  void HearOrders(const v1::OrdersToNode& message) EXCLUDES(mutex_);
  void SayInventory() REQUIRES(mutex_);

  const Options options_;
  std::shared_ptr<const net::TlsWatch> tls_;
  mutable Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_ GUARDED_BY(mutex_);
  std::shared_ptr<Tracker> tracker_ GUARDED_BY(mutex_);
  std::shared_ptr<Orders> orders_ GUARDED_BY(mutex_);
  bool tracker_welcome_ GUARDED_BY(mutex_) = false;
  bool orders_welcome_ GUARDED_BY(mutex_) = false;
  std::map<uint64_t, v1::Order> held_back_ GUARDED_BY(mutex_);  // by job
};

}  // namespace hearth::load
