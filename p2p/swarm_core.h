// SwarmCore: the transfers under way, their queue and their threads. See swarm.h.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "oci/registry.h"
#include "p2p/blob_sources.h"
#include "p2p/cluster_transfer.h"
#include "p2p/private_blobs.h"
#include "p2p/source.h"
#include "p2p/swarm.h"
#include "store/blob_store.h"

namespace hearth::p2p {

// One transfer. All but `digest` and `size_bytes` is guarded by the core's mutex.
struct Flight {
  enum class State : uint8_t {
    kOpening,  // its blob is being made
    kQueued,
    kRunning,
    kEnding,  // its outcome is decided; whoever comes now waits for kDone and starts anew
    kDone,
  };
  Digest digest;
  uint64_t size_bytes = 0;
  State state = State::kOpening;
  std::shared_ptr<store::Blob> blob;
  std::vector<oci::Access> origins;
  size_t next_origin = 0;
  std::vector<std::string> silent;  // registries that kept us waiting; not waited for again
  size_t holders = 0;
  std::stop_source stop;
  Status outcome;
};

class SwarmCore : public std::enable_shared_from_this<SwarmCore> {
 public:
  struct Options {
    store::BlobStore& blobs;
    std::function<std::unique_ptr<Source>(const oci::Access&)> open_source;
    // With a cluster: one transfer of `blob`; see ClusterTransfer::Options. Null = alone.
    std::function<std::shared_ptr<ClusterTransfer>(
        std::shared_ptr<store::Blob> blob, std::vector<oci::Access> origins,
        ClusterTransfer::Trust trust, std::shared_ptr<ClusterTransfer::Leavings> leavings)>
        open_transfer = nullptr;
    std::shared_ptr<BlobSources> sources = nullptr;  // hears who gave what
    // The registry's blobs are never handed to other nodes. Null = none is such.
    std::function<bool(const std::string& registry)> is_private = nullptr;
    PrivateBlobs* private_blobs = nullptr;  // learns of those
    Pace pace = {};
    size_t threads;
    size_t queue_limit;
    std::chrono::seconds failure_memory{60};
    // How long a request waits for a transfer of the same digest that is just being made or ended,
    // or that expects another size.
    std::chrono::milliseconds hand_over_wait{5000};
  };
  explicit SwarmCore(Options options);

  Result<std::shared_ptr<Fetch>> Join(BlobRequest request);
  // A holder went.
  void Drop(const std::shared_ptr<Flight>& flight);
  Status Wait(const std::shared_ptr<Flight>& flight, std::stop_token stop, Deadline deadline);
  Status RecentFailure(const Digest& digest);
  void Stop();

 private:
  Result<std::shared_ptr<Flight>> FindOrReserve(BlobRequest& request, bool& reserved);
  Result<std::shared_ptr<Fetch>> Open(const std::shared_ptr<Flight>& flight);
  Result<std::shared_ptr<Fetch>> WithoutOrigin(const Digest& digest);
  void Run();
  void Transfer(const std::shared_ptr<Flight>& flight);
  // True: done, and the flight's outcome is decided. False: its sources are for one node only.
  bool TransferInCluster(Flight& flight);
  // The origins to use, and a token that ends the transfer; nullopt: nobody wants the blob any
  // more.
  std::optional<std::vector<oci::Access>> BeginTry(Flight& flight, std::stop_token& stop);
  // The next source to try, or nothing when the flight is over for the reason in its outcome.
  std::unique_ptr<Source> NextSource(Flight& flight, std::stop_token& stop);
  // Its registry did not answer in time, whoever asked.
  bool IsSilent(const Flight& flight, const oci::Access& access) const;
  Status FetchFrom(Source& source, store::Blob& blob, std::stop_token stop, bool& final_error);
  Status Regrow(Flight& flight);
  void Decide(Flight& flight, Status outcome);
  void End(Flight& flight);

  const Options options_;
  Mutex mutex_;
  CondVar work_;
  CondVar changed_;  // a flight is open or done
  std::unordered_map<Digest, std::shared_ptr<Flight>> flights_ GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Flight>> queue_ GUARDED_BY(mutex_);
  size_t opening_ GUARDED_BY(mutex_) = 0;  // will join the queue
  // At most kMaxFailures; all are forgotten when one more comes.
  std::unordered_map<Digest, std::pair<Status, SteadyTime>> failures_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  Mutex stop_mutex_;  // held while Stop() joins
  std::vector<std::thread> threads_ GUARDED_BY(stop_mutex_);
};

}  // namespace hearth::p2p
