#include "p2p/swarm_core.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/log.h"

namespace hearth::p2p {
namespace {

constexpr size_t kMaxFailures = 1024;
// What a try believes; the next one begins after a wrong digest.
constexpr ClusterTransfer::Trust kTries[] = {
    ClusterTransfer::Trust::kFirstWord, ClusterTransfer::Trust::kSettled,
    ClusterTransfer::Trust::kSettled, ClusterTransfer::Trust::kOrigin};

constexpr size_t kMaxOriginsPerBlob = 16;
// Configs and the like go ahead of layers: somebody always waits for them.
constexpr uint64_t kSmallBlobBytes = 1024 * 1024;

void AddOrigins(std::vector<oci::Access>& to, std::vector<oci::Access>&& more) {
  for (oci::Access& access : more) {
    if (to.size() >= kMaxOriginsPerBlob) return;
    if (std::find(to.begin(), to.end(), access) == to.end()) to.push_back(std::move(access));
  }
}

}  // namespace

SwarmCore::SwarmCore(Options options) : options_(std::move(options)) {
  MutexLock lock(stop_mutex_);
  for (size_t i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this] {
      NameThread("fetch");
      Run();
    });
  }
}

Result<std::shared_ptr<Fetch>> SwarmCore::Join(BlobRequest request) {
  bool reserved = false;
  const std::shared_ptr<Flight> flight = TRY(FindOrReserve(request, reserved));
  if (!flight) return WithoutOrigin(request.digest);
  if (reserved) return Open(flight);
  MutexLock lock(mutex_);
  return std::make_shared<Fetch>(shared_from_this(), flight, flight->blob);
}

// Null: there is none, and the request names nobody who could start one.
Result<std::shared_ptr<Flight>> SwarmCore::FindOrReserve(BlobRequest& request, bool& reserved) {
  const SteadyTime give_up = std::chrono::steady_clock::now() + options_.hand_over_wait;
  MutexLock lock(mutex_);
  while (true) {
    if (stopping_) return Cancelled("the node is stopping");
    const auto found = flights_.find(request.digest);
    if (found == flights_.end()) break;
    const std::shared_ptr<Flight>& flight = found->second;
    // A failed blob is about to be followed by another one, or the flight by its end.
    if (flight->state == Flight::State::kOpening || flight->state == Flight::State::kEnding ||
        flight->blob->state() == store::Blob::State::kFailed) {
      if (!changed_.WaitUntil(mutex_, give_up)) {
        return Unavailable("another transfer of blob " + request.digest.ToString() + " hangs");
      }
      continue;
    }
    // One of the two manifests is wrong, and nobody knows which: the origin soon ends a transfer
    // that expects another size than it has.
    if (flight->size_bytes != request.size_bytes) {
      if (!changed_.WaitUntil(mutex_, give_up)) {
        return Unavailable("blob " + request.digest.ToString() + " of " +
                           std::to_string(request.size_bytes) +
                           " bytes is being fetched with a size of " +
                           std::to_string(flight->size_bytes) + "; try again when that has ended");
      }
      continue;
    }
    AddOrigins(flight->origins, std::move(request.origins));
    ++flight->holders;
    return flight;
  }
  if (request.origins.empty()) return std::shared_ptr<Flight>();
  if (queue_.size() + opening_ >= options_.queue_limit) {
    return ResourceExhausted(std::to_string(options_.queue_limit) +
                             " transfers are waiting already; try again later");
  }
  auto flight = std::make_shared<Flight>();
  flight->digest = request.digest;
  flight->size_bytes = request.size_bytes;
  AddOrigins(flight->origins, std::move(request.origins));
  flight->holders = 1;
  flights_.emplace(flight->digest, flight);
  ++opening_;
  reserved = true;
  return flight;
}

Result<std::shared_ptr<Fetch>> SwarmCore::WithoutOrigin(const Digest& digest) {
  auto blob = options_.blobs.Open(digest);
  if (blob.ok()) return std::make_shared<Fetch>(shared_from_this(), nullptr, *std::move(blob));
  if (auto growing = options_.blobs.FindGrowing(digest)) {
    return std::make_shared<Fetch>(shared_from_this(), nullptr, std::move(growing));
  }
  return NotFound("blob " + digest.ToString() +
                  " is not in the store, and no registry is known that has it");
}

// Makes the blob without holding the mutex, since that touches the disk.
Result<std::shared_ptr<Fetch>> SwarmCore::Open(const std::shared_ptr<Flight>& flight) {
  auto grown = options_.blobs.Grow(flight->digest, flight->size_bytes);
  const bool anew = grown.ok() && grown->writer && grown->blob->PresentBytes() == 0;
  if (anew && options_.sources) options_.sources->Forget(flight->digest);
  bool stopped = false;
  {
    MutexLock lock(mutex_);
    --opening_;
    stopped = stopping_;
    if (grown.ok() && grown->writer && !stopped) {
      flight->blob = grown->blob;
      flight->state = Flight::State::kQueued;
      if (flight->size_bytes <= kSmallBlobBytes) {
        queue_.push_front(flight);
      } else {
        queue_.push_back(flight);
      }
      work_.NotifyOne();
    } else {
      flight->state = Flight::State::kDone;
      flights_.erase(flight->digest);
    }
    changed_.NotifyAll();
  }
  if (!grown.ok()) return grown.status();
  if (!grown->writer) {
    return std::make_shared<Fetch>(shared_from_this(), nullptr, grown->blob);
  }
  if (stopped) {
    const Status why = Cancelled("the node is stopping");
    grown->blob->Fail(why);
    return why;
  }
  return std::make_shared<Fetch>(shared_from_this(), flight, grown->blob);
}

void SwarmCore::Drop(const std::shared_ptr<Flight>& flight) {
  std::stop_source stop;
  {
    MutexLock lock(mutex_);
    if (--flight->holders > 0 || flight->state != Flight::State::kRunning) return;
    stop = flight->stop;
  }
  stop.request_stop();
}

Status SwarmCore::Wait(const std::shared_ptr<Flight>& flight, std::stop_token stop,
                       Deadline deadline) {
  // Before the lock, since it may run at once, and after it in destruction.
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  MutexLock lock(mutex_);
  while (flight->state != Flight::State::kDone) {
    if (stop.stop_requested()) return Cancelled("waiting for " + flight->digest.ToString());
    if (deadline.IsNever()) {
      changed_.Wait(mutex_);
    } else if (!changed_.WaitUntil(mutex_, deadline.at()) &&
               flight->state != Flight::State::kDone) {
      return DeadlineExceeded("waiting for blob " + flight->digest.ToString());
    }
  }
  return flight->outcome;
}

void SwarmCore::Run() {
  while (true) {
    std::shared_ptr<Flight> flight;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      flight = std::move(queue_.front());
      queue_.pop_front();
      flight->state = Flight::State::kRunning;
    }
    Transfer(flight);
  }
}

std::optional<std::vector<oci::Access>> SwarmCore::BeginTry(Flight& flight, std::stop_token& stop) {
  MutexLock lock(mutex_);
  if (stopping_ || flight.holders == 0) {
    flight.outcome = Cancelled(stopping_ ? "the node is stopping"
                                         : "nobody waits for blob " + flight.digest.ToString());
    flight.state = Flight::State::kEnding;
    return std::nullopt;
  }
  if (flight.stop.stop_requested()) flight.stop = std::stop_source();
  stop = flight.stop.get_token();
  return flight.origins;
}

bool SwarmCore::TransferInCluster(Flight& flight) {
  std::shared_ptr<ClusterTransfer::Leavings> leavings;
  size_t wrong = 0;  // tries
  std::stop_token stop;
  while (const auto origins = BeginTry(flight, stop)) {
    const bool is_private =
        options_.is_private && std::ranges::any_of(*origins, [this](const oci::Access& access) {
          return options_.is_private(access.registry);
        });
    if (is_private && options_.private_blobs != nullptr) {
      options_.private_blobs->Add(flight.digest);
    }
    if (is_private || !options_.open_transfer) return false;
    if (flight.blob->state() == store::Blob::State::kFailed) {
      if (Status status = Regrow(flight); !status.ok()) {
        Decide(flight, std::move(status));
        return true;
      }
    }
    const auto transfer =
        options_.open_transfer(flight.blob, *origins, kTries[wrong], std::move(leavings));
    bool final_error = false;
    Status status = transfer->Run(stop, final_error);
    leavings = transfer->leavings();
    const bool try_again = leavings && !final_error && wrong + 1 < std::size(kTries);
    if (try_again) {
      ++wrong;
      LOG_WARNING(
          "the pieces of a blob do not make its digest; those that are not settled are "
          "fetched again",
          {{"digest", flight.digest.ToString()}, {"wrong_tries", wrong}});
    }
    if (try_again || (!status.ok() && stop.stop_requested())) continue;
    {
      MutexLock lock(mutex_);  // whoever came meanwhile may know another origin
      if (!status.ok() && !final_error && flight.origins.size() > origins->size()) continue;
    }
    Decide(flight, std::move(status));
    return true;
  }
  return true;
}

void SwarmCore::Transfer(const std::shared_ptr<Flight>& flight) {
  if (TransferInCluster(*flight)) return End(*flight);
  std::stop_token stop;
  while (const auto source = NextSource(*flight, stop)) {
    bool final_error = false;
    // Only this thread changes `blob` while the flight runs.
    Status status = FetchFrom(*source, *flight->blob, stop, final_error);
    if (!status.ok() && stop.stop_requested()) continue;  // dropped, or found a new holder since
    status = status.Annotate("from " + source->name());
    if (!status.ok()) {
      LOG_WARNING("source failed", {{"digest", flight->digest.ToString()}, {"error", status}});
    }
    if (status.ok() || final_error) {
      Decide(*flight, std::move(status));
      break;
    }
    MutexLock lock(mutex_);
    if (status.code() == StatusCode::kDeadlineExceeded) {
      flight->silent.push_back(flight->origins[flight->next_origin].registry);
      status = Unavailable(status.message());  // the other code is for who waits for the blob
    }
    ++flight->next_origin;
    flight->outcome = std::move(status);
  }
  End(*flight);
}

std::unique_ptr<Source> SwarmCore::NextSource(Flight& flight, std::stop_token& stop) {
  oci::Access access;
  bool wrong_bytes = false;
  {
    MutexLock lock(mutex_);
    if (stopping_ || flight.holders == 0) {
      flight.outcome = Cancelled(stopping_ ? "the node is stopping"
                                           : "nobody waits for blob " + flight.digest.ToString());
      flight.state = Flight::State::kEnding;
      return nullptr;
    }
    while (flight.next_origin < flight.origins.size() &&
           IsSilent(flight, flight.origins[flight.next_origin])) {
      ++flight.next_origin;
    }
    if (flight.next_origin == flight.origins.size()) {
      flight.state = Flight::State::kEnding;
      return nullptr;
    }
    if (flight.stop.stop_requested()) flight.stop = std::stop_source();
    stop = flight.stop.get_token();
    access = flight.origins[flight.next_origin];
    wrong_bytes = flight.blob->state() == store::Blob::State::kFailed;
  }
  if (wrong_bytes) {
    if (Status status = Regrow(flight); !status.ok()) {
      Decide(flight, std::move(status));
      return nullptr;
    }
  }
  return options_.open_source(access);
}

bool SwarmCore::IsSilent(const Flight& flight, const oci::Access& access) const {
  return std::find(flight.silent.begin(), flight.silent.end(), access.registry) !=
         flight.silent.end();
}

// `final_error`: our own store is in trouble, so that another source would not help.
Status SwarmCore::FetchFrom(Source& source, store::Blob& blob, std::stop_token stop,
                            bool& final_error) {
  BlobWriter writer(blob, options_.pace, [&](uint64_t bytes) {
    if (!options_.sources) return;
    options_.sources->Add(blob.digest(), {ByteOrigin::kRegistry, source.name(), bytes});
  });
  Status status = source.Fetch(writer, stop);
  if (!writer.store_error().ok()) {
    final_error = writer.store_error().code() != StatusCode::kDataLoss;
    return writer.store_error();
  }
  TRY_STATUS(status);
  if (writer.offset() != blob.size_bytes()) {
    return DataLoss("ended after " + std::to_string(writer.offset()) + " of " +
                    std::to_string(blob.size_bytes()) + " bytes");
  }
  return blob.WaitComplete(std::move(stop));
}

// The blob was filled and found wrong; the next source starts with a new one.
Status SwarmCore::Regrow(Flight& flight) {
  auto grown = TRY(options_.blobs.Grow(flight.digest, flight.size_bytes));
  if (!grown.writer && grown.blob->state() != store::Blob::State::kComplete) {
    return Aborted("blob " + flight.digest.ToString() + " got another writer meanwhile");
  }
  MutexLock lock(mutex_);
  flight.blob = std::move(grown.blob);
  changed_.NotifyAll();
  return OkStatus();
}

void SwarmCore::Decide(Flight& flight, Status outcome) {
  MutexLock lock(mutex_);
  flight.outcome = std::move(outcome);
  flight.state = Flight::State::kEnding;
}

void SwarmCore::End(Flight& flight) {
  // Without the mutex: readers that wake up may drop their share in this very flight.
  if (!flight.outcome.ok()) flight.blob->Fail(flight.outcome);
  MutexLock lock(mutex_);
  flight.state = Flight::State::kDone;
  flights_.erase(flight.digest);
  failures_.erase(flight.digest);
  if (!flight.outcome.ok() && flight.outcome.code() != StatusCode::kCancelled) {
    if (failures_.size() >= kMaxFailures) failures_.clear();
    failures_[flight.digest] = {flight.outcome, std::chrono::steady_clock::now()};
  }
  changed_.NotifyAll();
}

Status SwarmCore::RecentFailure(const Digest& digest) {
  MutexLock lock(mutex_);
  const auto failure = failures_.find(digest);
  if (failure == failures_.end() || flights_.contains(digest)) return OkStatus();
  const auto age = std::chrono::steady_clock::now() - failure->second.second;
  return age < options_.failure_memory ? failure->second.first : OkStatus();
}

void SwarmCore::Stop() {
  std::vector<std::stop_source> stops;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    for (const auto& [digest, flight] : flights_) stops.push_back(flight->stop);
    work_.NotifyAll();
    changed_.NotifyAll();
  }
  for (std::stop_source& stop : stops) stop.request_stop();
  MutexLock lock(stop_mutex_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace hearth::p2p
