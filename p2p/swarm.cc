#include "p2p/swarm.h"

#include "p2p/origin.h"
#include "p2p/swarm_core.h"

namespace hearth::p2p {

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
    : core_(std::make_shared<SwarmCore>(SwarmCore::Options{
          .blobs = options.blobs,
          .open_source = [&registry = options.registry](const oci::Access& access)
              -> std::unique_ptr<Source> { return std::make_unique<Origin>(registry, access); },
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
