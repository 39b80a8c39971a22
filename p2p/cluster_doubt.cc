// ClusterTransfer: what follows when bytes are found false that fitted their attested sums.
#include <utility>

#include "base/log.h"
#include "base/raw_digest.h"
#include "p2p/cluster_transfer.h"

namespace hearth::p2p {

namespace {

constexpr uint64_t kRestoredAtOnceBytes = 8ull << 20;

}  // namespace

ClusterTransfer::Leavings::Leavings(Cluster& cluster, std::shared_ptr<store::Blob> blob)
    : cluster_(cluster), blob_(std::move(blob)) {}

ClusterTransfer::Leavings::~Leavings() {
  if (taken_) return;
  v1::FromNode message;
  message.mutable_leave()->set_blob(ToRaw(blob_->digest()));
  cluster_.TellTracker(message);
}

void ClusterTransfer::KeepLeavings() {
  left_ = std::make_shared<Leavings>(options_.cluster, options_.blob);
  MutexLock lock(mutex_);
  left_->sums_ = sums_;
  left_->attesters_ = attesters_;
  left_->attester_names_ = attester_names_;
}

// Enough nodes agree on these. A false version of one that is here cannot be taken back from the
// blob's readers, so that this try ends for the next one to begin without it.
void ClusterTransfer::OnSettled(const std::vector<PieceSum>& sums) {
  if (options_.trust == Trust::kOrigin) return;
  {
    MutexLock lock(mutex_);
    for (const PieceSum& sum : sums) {
      if (static_cast<uint32_t>(sum.piece) >= pieces_) continue;
      const bool present = core_.picker().IsPresent(sum.piece);
      const bool changed = sums_.Agree(sum);
      if (changed && checked_.Has(sum.piece)) {
        doubted_ = sum.piece;
      } else if (changed) {
        core_.PeersHaveNot(sum.piece, Now());
      }
      for (const SourceId source : sums_.Promisers(sum.piece)) {
        core_.PeerHas(source, {sum.piece}, Now());
      }
      if (options_.leavings ? !present : IsKept(sum.piece)) restorable_.push_back(sum.piece);
    }
    Restore();
    woken_ = true;
    changed_.NotifyAll();
  }
}

// The next sum tries again where there is no thread, or the pieces come from elsewhere.
void ClusterTransfer::Restore() {
  if (restorable_.empty() || restoring_ || draining_) return;
  const Status queued = options_.cluster.options().cpu.Submit([self = shared_from_this()] {
    self->RestorePieces();
    self->EndOne();
  });
  if (!queued.ok()) return;
  restoring_ = true;
  ++under_way_;
}

// Pieces of the try before, or of an earlier life, which are right where they hash to what somebody
// has said since.
void ClusterTransfer::RestorePieces() {
  std::string bytes;
  for (uint64_t read = 0;; read += bytes.size()) {
    PieceSum wanted;
    bool kept = false;
    bool leased = false;
    {
      MutexLock lock(mutex_);
      if (draining_ || doubted_ || !store_error_.ok()) restorable_.clear();
      if (restorable_.empty() || read >= kRestoredAtOnceBytes) {
        restoring_ = false;
        Restore();  // the rest, behind what others want of the processors
        return;
      }
      wanted.piece = restorable_.back();
      restorable_.pop_back();
      const auto sum = sums_.Expected(wanted.piece);
      kept = IsKept(wanted.piece);
      leased = core_.picker().Has(kOriginSource, wanted.piece);
      if (!sum || (core_.picker().IsPresent(wanted.piece) && !kept)) continue;
      wanted.sum = *sum;
    }
    bytes.resize(SizeOf(wanted.piece));
    const store::Blob& from = kept ? *options_.blob : *options_.leavings->blob_;
    const auto got = ReadAt(from.file()->get(), bytes, Begin(wanted.piece));
    if (!got.ok() || *got != bytes.size() || Digest::Of(bytes) != wanted.sum) continue;
    const Status written = kept ? OkStatus() : options_.blob->Write(Begin(wanted.piece), bytes);
    {
      MutexLock lock(mutex_);
      if (!written.ok()) {
        store_error_ = written;
        restorable_.clear();
        continue;
      }
      core_.AddPresent(wanted.piece, Now());
      checked_.Set(wanted.piece);
      if (sums_.Expected(wanted.piece) != wanted.sum) doubted_ = wanted.piece;
      woken_ = true;
      changed_.NotifyAll();
    }
    options_.cluster.Announce(digest(), wanted);
    if (!kept || !leased) continue;
    v1::FromNode fetched;
    fetched.mutable_fetched()->set_blob(ToRaw(digest()));
    fetched.mutable_fetched()->add_runs()->set_first(static_cast<uint32_t>(wanted.piece));
    fetched.mutable_fetched()->mutable_runs(0)->set_count(1);
    options_.cluster.TellTracker(fetched);
  }
}

// A piece is false, so the blob is dropped; unless it is complete meanwhile and its digest right:
// then those who agreed lie.
Status ClusterTransfer::RejectDoubted(Status status) {
  {
    MutexLock lock(mutex_);
    if (!doubted_ || !store_error_.ok()) return status;
    if (status.code() != StatusCode::kCancelled) {
      status = DataLoss("piece " + std::to_string(static_cast<uint32_t>(*doubted_)) + " of blob " +
                        digest().ToString() +
                        " is not what its registry sent, or enough nodes agree on");
    }
  }
  options_.blob->Fail(status);
  Status ended = options_.blob->WaitComplete({});
  if (ended.ok()) return ended;
  // What failed keeps its pieces for the next one; these are not to be kept.
  const Status removed = options_.cluster.options().blobs.Remove(digest());
  if (!removed.ok() && removed.code() != StatusCode::kNotFound) {
    LOG_ERROR("wrong bytes not removed", {{"digest", digest().ToString()}, {"error", removed}});
  }
  return ended;
}

// The digest was right: who attested something else than what is here lied.
void ClusterTransfer::BlameLiars() {
  std::vector<std::pair<std::string, PieceSum>> liars;
  {
    MutexLock lock(mutex_);
    const auto checked = [this](PieceIndex piece) NO_THREAD_SAFETY_ANALYSIS {
      return checked_.Has(piece) || sums_.settled(piece) == Attestations::Settled::kTrue;
    };
    for (const auto& [attester, truth] : sums_.Verified(checked)) {
      liars.emplace_back(attester_names_[static_cast<uint32_t>(attester)], truth);
    }
  }
  for (const auto& [node, truth] : liars) BlameAttester(node, truth);
}

void ClusterTransfer::BlameAttester(const std::string& node, const PieceSum& truth) {
  LOG_WARNING("a node attested wrong bytes", {{"node", node},
                                              {"digest", digest().ToString()},
                                              {"piece", static_cast<uint32_t>(truth.piece)}});
  v1::FromNode message;
  v1::Blame& blame = *message.mutable_blame();
  blame.set_blob(ToRaw(digest()));
  blame.set_node_id(node);
  blame.set_piece(static_cast<uint32_t>(truth.piece));
  blame.set_kind(v1::Blame::ATTESTED_WRONG);
  const auto proof = options_.cluster.Proof(digest(), node, truth);
  if (proof) *blame.mutable_proof() = *proof;
  options_.cluster.Forget(digest(), node);
  options_.cluster.TellTracker(message);
}

}  // namespace hearth::p2p
