// PeerServer: the peer data port. Gives nodes of the own cluster the pieces that are here.
//
// "GET /v1/blob/sha256/<64 hex digits>" with "Range: bytes=A-B" of whole pieces, at most
// kMaxRangeBytes; HTTPS with certificates on both sides. No path, name or listing: only a digest
// and a range ever come from the wire. Answers: 206; 403 another role or cluster, banned, or a blob
// that is not shared between nodes; 404 no such blob or piece here; 416 not a range of whole
// pieces; 429 too many uploads wait, ask elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "net/http_server.h"
#include "net/tls.h"
#include "p2p/limiter.h"
#include "p2p/upload_queue.h"
#include "store/blob_store.h"

namespace hearth::p2p {

// The bytes [begin, end) of a blob that a request names.
struct PieceRange {
  Digest blob;
  uint64_t begin_bytes = 0;
  uint64_t end_bytes = 0;
};
// Of a request's path and Range header. kNotFound: no path of ours; kOutOfRange: no such range.
Result<PieceRange> ParsePieceRequest(std::string_view path, std::string_view range);

class PeerServer {
 public:
  static constexpr uint64_t kMaxRangeBytes = 8 << 20;
  static constexpr uint64_t kMaxHeaderBytes = 4 * 1024;
  static constexpr size_t kMaxConnections = 128;
  static constexpr std::chrono::seconds kIdleTimeout{30};

  struct Options {
    std::string listen;
    net::TlsIdentitySource identity;
    std::string cluster;
    store::BlobStore& blobs;
    Limiter& limiter;
    TimerQueue& timers;
    size_t uploads = 16;
    // Not banned. Null: everybody of the cluster may.
    std::function<bool(const std::string& node_id)> may_ask = nullptr;
    // False for what came from a registry that is not shared between nodes. Null: all may.
    std::function<bool(const Digest& blob)> may_share = nullptr;
    // Neighbours that have a piece, as far as this node knows. Null: nothing is known.
    std::function<uint32_t(const Digest& blob, PieceIndex piece)> holders = nullptr;
    const Clock& clock = RealClock();
  };
  // Errors are those of net::HttpServer::Start(). What is in `options` outlives the server.
  static Result<std::unique_ptr<PeerServer>> Start(Options options);
  ~PeerServer();

  std::string address() const { return server_->address(); }
  // Idempotent.
  void Stop(std::chrono::milliseconds grace);

 private:
  class Body;
  friend class Body;
  struct Waiting {
    std::shared_ptr<store::Blob> blob;
    PieceRange range;
    net::HttpServer::Respond respond;
    std::stop_token client_gone;
  };

  explicit PeerServer(Options options);
  void Answer(net::ServerRequest request, const net::HttpServer::Respond& respond);
  Result<std::string> CheckAsker(const net::ServerRequest& request) const;
  Result<std::shared_ptr<store::Blob>> Find(const PieceRange& range) const;
  void Done(UploadId id);
  void SendNext();
  uint32_t Holders(UploadId id) const REQUIRES(mutex_);
  void Send(UploadId id, Waiting waiting);

  const Options options_;
  Mutex mutex_;
  UploadQueue queue_ GUARDED_BY(mutex_);
  std::map<UploadId, Waiting> waiting_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
  size_t bodies_ GUARDED_BY(mutex_) = 0;
  CondVar gone_;                             // a body is
  std::unique_ptr<net::HttpServer> server_;  // last: its handlers use the rest
};

}  // namespace hearth::p2p
