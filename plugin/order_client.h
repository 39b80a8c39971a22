// OrderClient: the stream to the manager's orders; kept open, opened again after a loss.
//
// A thread of its own reads and reconnects, another one sends. What the orders say is the
// OrderBook's.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/thread.h"
#include "net/grpc_tls.h"
#include "plugin/order_book.h"

namespace hearth::plugin {

class OrderClient {
 public:
  static constexpr uint32_t kProtocol = 1;
  static constexpr size_t kMaxQueued = 4'096;  // beyond it the stream is opened anew
  static constexpr std::chrono::milliseconds kFirstPause{500};
  static constexpr std::chrono::milliseconds kLastPause{30'000};
  static constexpr std::chrono::seconds kConnectTimeout{5};

  struct Options {
    std::vector<std::string> addresses;  // "HOST:PORT" of managers, tried in turn
    net::TlsChannels& channels;
    OrderBook& book;
    std::string program;  // our version, for people
  };
  // Starts at once.
  explicit OrderClient(Options options);
  ~OrderClient();

  // Ends the stream and the threads. Idempotent.
  void Stop();
  // Why there is no stream; OK while there is one.
  Status state() const EXCLUDES(mutex_);

 private:
  struct Stream;

  void Run();
  // One stream, from its beginning to its end.
  Status Follow(const std::string& address);
  Status Listen(Stream& stream);
  void Handle(const v1::OrdersToNode& message);
  void SendLoop(Stream& stream);
  void Queue(const v1::OrdersFromNode& message) EXCLUDES(mutex_);
  bool WaitToRetry(std::chrono::milliseconds pause);

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<v1::OrdersFromNode> queue_ GUARDED_BY(mutex_);
  bool stream_ended_ GUARDED_BY(mutex_) = true;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Stream* stream_ GUARDED_BY(mutex_) = nullptr;
  Status state_ GUARDED_BY(mutex_) = Unavailable("not connected yet");
  std::thread thread_;
};

}  // namespace hearth::plugin
