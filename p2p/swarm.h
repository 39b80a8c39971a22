// Swarm: brings blobs into the store, each from whichever source has it, one transfer per digest.
//
// A request names the blob and who may have it; the answer comes at once with a blob to read while
// it grows. Sources are tried one after the other: one that fails (refused, not there, unreachable,
// wrong bytes) is followed by the next, and where none is left the last error goes to the readers
// through Blob::Fail(). Any thread; no call waits for the network.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "oci/registry.h"
#include "p2p/blob_sources.h"
#include "p2p/blob_writer.h"
#include "store/blob.h"
#include "store/blob_store.h"

namespace hearth::p2p {

struct BlobRequest {
  Digest digest;
  uint64_t size_bytes = 0;
  std::vector<oci::Access> origins;  // tried in order
};

class Cluster;
class PrivateBlobs;
class SwarmCore;
struct Flight;

// A share in one transfer, which goes on while anybody holds one; the last one dropped cancels it
// (pieces stay for the next). May outlive the Swarm.
class Fetch {
 public:
  Fetch(std::shared_ptr<SwarmCore> core, std::shared_ptr<Flight> flight,
        std::shared_ptr<store::Blob> blob);
  ~Fetch();
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;

  // Complete, growing or failed. After wrong bytes (kDataLoss) the readers of this blob fail and
  // the next source fills another one, which a new Swarm::Fetch() joins.
  const std::shared_ptr<store::Blob>& blob() const { return blob_; }
  // Waits over all sources until the blob is complete (OK), or none is left (the last error).
  // kCancelled, kDeadlineExceeded: the transfer goes on. Blocks its thread: workers only.
  Status WaitComplete(std::stop_token stop, Deadline deadline = Deadline::Never());

 private:
  const std::shared_ptr<SwarmCore> core_;
  const std::shared_ptr<Flight> flight_;  // null: nothing to cancel, somebody else writes or wrote
  const std::shared_ptr<store::Blob> blob_;
};

class Swarm {
 public:
  struct Options {
    store::BlobStore& blobs;
    oci::Registry& registry;
    size_t parallel_fetches = 8;  // threads; further requests queue, small blobs first
    size_t queue_limit = 4096;    // transfers that wait for a thread
    std::chrono::seconds failure_memory{60};
    // The cluster that this node is in. Null = alone.
    Cluster* cluster = nullptr;
    // The registry's blobs are never handed to other nodes. Null = none is such.
    std::function<bool(const std::string& registry)> is_private = nullptr;
    PrivateBlobs* private_blobs = nullptr;
    Pace pace = {};
  };
  // What is in `options` must outlive this.
  explicit Swarm(Options options);
  ~Swarm();

  // The complete blob; or a share in its transfer, under way or queued, to which `request` adds its
  // origins. kNotFound: not here and nobody was named; kInvalidArgument: another size is known;
  // kUnavailable: a transfer that expects another size goes on for too long; kResourceExhausted:
  // disk or queue full; kCancelled: after Stop().
  Result<std::shared_ptr<p2p::Fetch>> Fetch(BlobRequest request);

  // Why the last transfer of that blob failed, where that was within `failure_memory` and none has
  // begun since; OK otherwise. For who would rather be told to go elsewhere than wait for the same.
  Status RecentFailure(const Digest& digest) const;

  // Who gave what, of blobs that came lately.
  const BlobSources& sources() const { return *sources_; }

  // Cancels all transfers (readers get kCancelled) and joins the threads. Idempotent.
  void Stop();

 private:
  const std::shared_ptr<BlobSources> sources_;
  const std::unique_ptr<ThreadPool> origin_threads_;  // null = alone
  const std::shared_ptr<SwarmCore> core_;
};

}  // namespace hearth::p2p
