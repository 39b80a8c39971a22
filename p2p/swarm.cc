#include "p2p/swarm.h"

#include <atomic>
#include <random>
#include <utility>
#include <vector>

#include "p2p/cluster_transfer.h"
#include "p2p/origin.h"
#include "p2p/swarm_core.h"

namespace hearth::p2p {

namespace {

decltype(SwarmCore::Options::open_transfer) Opener(const Swarm::Options& options,
                                                   ThreadPool* origin_threads,
                                                   std::shared_ptr<BlobSources> sources) {
  if (options.cluster == nullptr) return nullptr;
  return [&cluster = *options.cluster, &registry = options.registry, origin_threads,
          sources = std::move(sources),
          random = std::make_shared<std::atomic<uint64_t>>(std::random_device{}())](
             std::shared_ptr<store::Blob> blob, std::vector<oci::Access> origins,
             ClusterTransfer::Trust trust, std::shared_ptr<ClusterTransfer::Leavings> leavings) {
    return std::make_shared<ClusterTransfer>(
        ClusterTransfer::Options{.cluster = cluster,
                                 .registry = registry,
                                 .origin_threads = *origin_threads,
                                 .origins = std::move(origins),
                                 .blob = std::move(blob),
                                 .trust = trust,
                                 .leavings = std::move(leavings),
                                 .sources = sources,
                                 .seed = ++*random});
  };
}

}  // namespace

Fetch::Fetch(std::shared_ptr<SwarmCore> core, std::shared_ptr<Flight> flight,
             std::shared_ptr<store::Blob> blob)
    : core_(std::move(core)), flight_(std::move(flight)), blob_(std::move(blob)) {}

Fetch::~Fetch() {
  if (flight_) core_->Drop(flight_);
}

Status Fetch::WaitComplete(std::stop_token stop, Deadline deadline) {
  if (flight_) return core_->Wait(flight_, std::move(stop), deadline);
  return blob_->WaitComplete(std::move(stop), deadline);
}

Swarm::Swarm(Options options)
    : sources_(std::make_shared<BlobSources>()),
      origin_threads_(options.cluster == nullptr
                          ? nullptr
                          : std::make_unique<ThreadPool>(ThreadPool::Options{
                                .name = "origin", .threads = options.parallel_fetches})),
      core_(std::make_shared<SwarmCore>(SwarmCore::Options{
          .blobs = options.blobs,
          .open_source = [&registry = options.registry](const oci::Access& access)
              -> std::unique_ptr<Source> { return std::make_unique<Origin>(registry, access); },
          .open_transfer = Opener(options, origin_threads_.get(), sources_),
          .sources = sources_,
          .is_private = options.is_private,
          .private_blobs = options.private_blobs,
          .pace = options.pace,
          .threads = options.parallel_fetches,
          .queue_limit = options.queue_limit,
          .failure_memory = options.failure_memory})) {}

Swarm::~Swarm() { Stop(); }

Result<std::shared_ptr<p2p::Fetch>> Swarm::Fetch(BlobRequest request) {
  return core_->Join(std::move(request));
}

Status Swarm::RecentFailure(const Digest& digest) const { return core_->RecentFailure(digest); }

void Swarm::Stop() { core_->Stop(); }

}  // namespace hearth::p2p
