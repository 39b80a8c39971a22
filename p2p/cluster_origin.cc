// ClusterTransfer: the runs that this node fetches from the origin, and what it says of them.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "p2p/cluster_transfer.h"
#include "p2p/traffic.h"

namespace hearth::p2p {

// Runs on the HTTP client's loop thread; a write into the page cache is all that it waits for.
class ClusterTransfer::OriginSink final : public oci::BlobSink {
 public:
  OriginSink(ClusterTransfer& transfer, RequestId id, std::string name, uint64_t begin_bytes)
      : transfer_(transfer), id_(id), name_(std::move(name)), at_(begin_bytes) {}

  Status OnStart(std::optional<uint64_t> total_size_bytes) override {
    if (!total_size_bytes || *total_size_bytes == transfer_.size_bytes()) return OkStatus();
    return DataLoss("blob " + transfer_.digest().ToString() + " has " +
                    std::to_string(*total_size_bytes) + " bytes there, but its manifest says " +
                    std::to_string(transfer_.size_bytes()));
  }

  bool Ready(std::function<void()> resume) override {
    const Cluster::Options& options = transfer_.options_.cluster.options();
    if (free_at_ > options.clock.SteadyNow()) {
      options.timers.At(free_at_, std::move(resume));
      return false;
    }
    return transfer_.options_.blob->MayWrite(std::move(resume));
  }

  Status OnData(std::string_view data) override {
    const Cluster::Options& options = transfer_.options_.cluster.options();
    const uint64_t size = transfer_.size_bytes();
    if (data.size() > size - at_) return DataLoss("more bytes than the manifest names");
    if (Status written = transfer_.options_.blob->Write(at_, {data.data(), data.size()});
        !written.ok()) {
      store_error_ = written;
      return written;
    }
    transfer_.CompareKept(at_, data);
    free_at_ =
        options.limiter.Charge(Limiter::Traffic::kOrigin, data.size(), options.clock.SteadyNow());
    CountReceived(ByteOrigin::kRegistry, data.size());
    transfer_.Credit({ByteOrigin::kRegistry, name_, data.size()});
    const uint64_t piece_bytes = transfer_.piece_bytes_;
    uint64_t piece = at_ / piece_bytes;
    at_ += data.size();
    for (; (piece + 1) * piece_bytes <= at_ || (at_ == size && piece * piece_bytes < size);
         ++piece) {
      transfer_.OnOriginPiece(id_, PieceIndex{static_cast<uint32_t>(piece)});
    }
    return OkStatus();
  }

  uint64_t at() const { return at_; }
  const Status& store_error() const { return store_error_; }

 private:
  ClusterTransfer& transfer_;
  const RequestId id_;
  const std::string name_;
  uint64_t at_;
  SteadyTime free_at_{};
  Status store_error_;
};

void ClusterTransfer::Credit(const SourceBytes& given) const {
  if (options_.sources) options_.sources->Add(digest(), given);
}

void ClusterTransfer::AskOrigin(const Action& action) {
  std::stop_token stop;
  {
    MutexLock lock(mutex_);
    auto& origin = requests_[action.request].origin;
    origin.emplace();
    stop = origin->get_token();
    if (whole_running_) {
      held_[action.request] = action.run;
      return;
    }
    ++under_way_;
  }
  const Status queued = options_.origin_threads.Submit(
      [self = shared_from_this(), id = action.request, run = action.run, stop] {
        self->FetchRun(id, run, stop);
        self->EndOne();
      });
  if (queued.ok()) return;
  EndRun(action.request, queued);
  EndOne();
}

void ClusterTransfer::FetchRun(RequestId id, PieceRun run, std::stop_token stop) {
  bool whole = false;
  {
    MutexLock lock(mutex_);
    if (whole_running_) {  // begun since this one was asked for
      held_[id] = run;
      return;
    }
    whole = whole_running_ = whole_;
  }
  Status status = FetchFromOrigins(id, run, whole, stop);
  if (status.code() == StatusCode::kUnimplemented && !whole) {
    {
      MutexLock lock(mutex_);
      if (std::exchange(whole_, true) && whole_running_) {
        held_[id] = run;
        return;
      }
      whole = whole_running_ = true;
    }
    Tell(v1::OriginTrouble::WITHOUT_RANGES);
    status = FetchFromOrigins(id, run, true, stop);
  }
  EndRun(id, status);
  if (!whole) return;
  std::map<RequestId, PieceRun> held;
  {
    MutexLock lock(mutex_);
    whole_running_ = false;
    held.swap(held_);
  }
  for (const auto& [held_id, held_run] : held) EndRun(held_id, status);
}

// One origin after the other. `whole`: from the first byte on, since ranges are not served.
Status ClusterTransfer::FetchFromOrigins(RequestId id, PieceRun run, bool whole,
                                         std::stop_token stop) {
  Status status = FailedPrecondition("no registry is known that has blob " + digest().ToString());
  const uint64_t end = std::min<uint64_t>(uint64_t{run.end()} * piece_bytes_, size_bytes());
  uint64_t begin = whole ? 0 : Begin(run.first);
  for (const oci::Access& access : options_.origins) {
    oci::BlobRequest request{.digest = digest(), .offset_bytes = begin, .size_bytes = size_bytes()};
    if (!whole && !(begin == 0 && end == size_bytes())) request.end_bytes = end;
    const std::string name = access.registry + "/" + access.repository;
    OriginSink sink(*this, id, name, begin);
    status = options_.registry.FetchBlob(access, request, sink, stop);
    if (!sink.store_error().ok()) {
      MutexLock lock(mutex_);
      store_error_ = sink.store_error();
      return store_error_;
    }
    if (status.ok() || stop.stop_requested()) return status;
    status = status.Annotate("from " + name);
    if (status.code() == StatusCode::kUnimplemented) return status;
    LOG_WARNING("source failed", {{"digest", digest().ToString()}, {"error", status}});
    // What came stays; the next one goes on behind the last whole piece.
    if (!whole) begin = std::max(begin, sink.at() / piece_bytes_ * piece_bytes_);
    if (begin >= end) return OkStatus();
  }
  return status;
}

void ClusterTransfer::EndRun(RequestId id, const Status& status) {
  Failure why = Failure::kUnavailable;
  switch (status.code()) {
    case StatusCode::kUnauthenticated:
    case StatusCode::kPermissionDenied:
    case StatusCode::kNotFound:
    case StatusCode::kFailedPrecondition:
      why = Failure::kRefused;
      break;
    case StatusCode::kOk:
    case StatusCode::kCancelled:
      why = Failure::kBusy;  // only what did not come is asked for again
      break;
    default:
      break;
  }
  {
    MutexLock lock(mutex_);
    requests_.erase(id);
    core_.Failed(id, why, Now());  // of no effect where every piece of it came
    if (why == Failure::kRefused) refused_ = true;
    if (why != Failure::kBusy) {
      // The other code is for who waits for the blob.
      last_error_ =
          status.code() == StatusCode::kDeadlineExceeded ? Unavailable(status.message()) : status;
    }
    woken_ = true;
    changed_.NotifyAll();
  }
  if (why == Failure::kRefused) Tell(v1::OriginTrouble::REFUSED);
  if (why == Failure::kUnavailable) Tell(v1::OriginTrouble::UNREACHABLE);
}

void ClusterTransfer::Tell(v1::OriginTrouble::Kind kind) {
  v1::FromNode message;
  message.mutable_origin()->set_blob(ToRaw(digest()));
  message.mutable_origin()->set_kind(kind);
  options_.cluster.TellTracker(message);
}

bool ClusterTransfer::IsHere(uint64_t begin_bytes, std::string_view data) const {
  std::string here(data.size(), '\0');
  const auto got = ReadAt(options_.blob->file()->get(), here, begin_bytes);
  return got.ok() && *got == here.size() && here == data;
}

// What an earlier life left stays in the file, so that it must be what the origin has.
void ClusterTransfer::CompareKept(uint64_t begin_bytes, std::string_view data) {
  while (!data.empty()) {
    const PieceIndex piece{static_cast<uint32_t>(begin_bytes / piece_bytes_)};
    const uint64_t size = std::min<uint64_t>(
        data.size(), (static_cast<uint64_t>(piece) + 1) * piece_bytes_ - begin_bytes);
    bool kept = false;
    {
      MutexLock lock(mutex_);
      if (core_.picker().kept() == 0 || doubted_) return;
      kept = IsKept(piece);
    }
    if (kept && !IsHere(begin_bytes, data.substr(0, size))) {
      MutexLock lock(mutex_);
      doubted_ = piece;
      woken_ = true;
      changed_.NotifyAll();
      return;
    }
    begin_bytes += size;
    data.remove_prefix(size);
  }
}

void ClusterTransfer::OnOriginPiece(RequestId id, PieceIndex piece) {
  {
    MutexLock lock(mutex_);
    // In a whole fetch: what was here already is not of the origin.
    if (doubted_ || (core_.picker().IsPresent(piece) && !IsKept(piece))) return;
    core_.PieceArrived(id, piece, true, Now());
    if (!core_.picker().IsPresent(piece) || IsKept(piece)) {
      core_.AddPresent(piece, Now());  // nobody's request
    }
    unhashed_.push_back(piece);
    woken_ = true;
    changed_.NotifyAll();
    if (hashing_) return;
    hashing_ = true;
    ++under_way_;
  }
  const Status queued = options_.cluster.options().cpu.Submit([self = shared_from_this()] {
    self->HashOriginPieces();
    self->EndOne();
  });
  if (queued.ok()) return;
  {
    MutexLock lock(mutex_);
    hashing_ = false;  // the next piece tries again
  }
  EndOne();
}

// Runs of neighbouring pieces share a signature.
void ClusterTransfer::HashOriginPieces() {
  std::vector<PieceIndex> pieces;
  std::string bytes;
  while (true) {
    {
      MutexLock lock(mutex_);
      pieces.clear();
      pieces.swap(unhashed_);
      if (pieces.empty()) {
        hashing_ = false;
        return;
      }
    }
    std::ranges::sort(pieces);
    v1::FromNode fetched;
    fetched.mutable_fetched()->set_blob(ToRaw(digest()));
    for (size_t i = 0; i < pieces.size();) {
      const PieceIndex first = pieces[i];
      std::vector<Digest> sums;
      for (; i < pieces.size() && sums.size() < kMaxSumsPerAttestation &&
             static_cast<uint32_t>(pieces[i]) == static_cast<uint32_t>(first) + sums.size();
           ++i) {
        bytes.resize(SizeOf(pieces[i]));
        const auto got = ReadAt(options_.blob->file()->get(), bytes, Begin(pieces[i]));
        if (!got.ok() || *got != bytes.size()) break;
        sums.push_back(Digest::Of(bytes));
        Settle({pieces[i], sums.back()});
      }
      if (sums.empty()) break;
      v1::Run& run = *fetched.mutable_fetched()->add_runs();
      run.set_first(static_cast<uint32_t>(first));
      run.set_count(static_cast<uint32_t>(sums.size()));
      options_.cluster.Attest(digest(), size_bytes(), first, sums);
    }
    options_.cluster.TellTracker(fetched);
  }
}

// The origin is the truth about a piece; who said something else lied.
void ClusterTransfer::Settle(const PieceSum& piece) {
  std::vector<std::string> liars;
  {
    MutexLock lock(mutex_);
    for (const AttesterId liar : sums_.Settle(piece)) {
      liars.push_back(attester_names_[static_cast<uint32_t>(liar)]);
    }
  }
  for (const std::string& node : liars) BlameAttester(node, piece);
}

}  // namespace hearth::p2p
