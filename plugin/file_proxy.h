// FileProxy: the mirror's port as a plain HTTP proxy whose rules say what goes through the store.
//
// A URL that a rule matches, one below /file/, and one with X-Dragonfly-Use-P2P comes from the
// store, after its origin granted it to this very request; what is there under no rule is given out
// in the same way. All else is passed through untouched, as it comes. CONNECT tunnels to hosts that
// a rule names. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "plugin/file_cache.h"
#include "plugin/proxy_request.h"

namespace hearth::plugin {

class FileProxy {
 public:
  struct Options {
    FileCache& files;
    net::HttpClient& client;  // for what is passed through; not the one that fills the store
    TimerQueue& timers;
    // A connected, non-blocking socket to host and port, for CONNECT; blocks for a bounded time.
    // kPermissionDenied: an address that must not be reached.
    std::function<Result<Fd>(const std::string& host, uint16_t port)> connect;
    size_t threads = 8;   // that ask origins
    size_t queue = 256;   // requests that wait for one; further ones get 503
    size_t tunnels = 64;  // at once; further ones get 503
    // A reader of a growing file gives up when nothing came for so long.
    std::chrono::milliseconds stall_timeout{30'000};
  };
  // All of `options` must outlive this, and this the server that it answers for.
  explicit FileProxy(Options options);
  ~FileProxy() { Stop(); }

  // Whether a request on the mirror's port is the proxy's.
  static bool Takes(const net::ServerRequest& request);
  // Returns at once.
  void Handle(net::ServerRequest request, net::HttpServer::Respond respond);
  // "127.0.0.1:7733", where clients reach us: a proxy must not call itself.
  void SetAddress(const std::string& address);
  // No new requests; waits for those that ask an origin.
  void Stop();

 private:
  struct Call;
  void Dispatch(const std::shared_ptr<Call>& call);
  void Serve(const Call& call);
  void Connect(const Call& call);
  void Pass(const Call& call);
  void SendStored(const Call& call, const FileOffer& offer);
  void SendGrowing(const Call& call, const FileOffer& offer);
  bool IsOwnAddress(const std::string& host, uint16_t port) const;

  const Options options_;
  const std::string via_;  // our name, of this process alone
  const std::shared_ptr<std::atomic<size_t>> open_tunnels_ =
      std::make_shared<std::atomic<size_t>>(0);
  std::atomic<uint16_t> own_port_ = 0;
  ThreadPool pool_;
};

}  // namespace hearth::plugin
