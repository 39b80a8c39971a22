#include "manager/lease_book.h"

#include <algorithm>
#include <utility>

namespace hearth::manager {

namespace {

uint32_t Milliseconds(SteadyTime now) {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count());
}

}  // namespace

LeaseBook::LeaseBook(Options options)
    : options_(options),
      wanted_(options.pieces, static_cast<uint8_t>(options.copies)),
      left_(uint64_t{options.pieces} * options.copies),
      fetched_by_(options.pieces, kNobody),
      untold_(options.pieces),
      fetched_at_(options.pieces),
      missed_by_(options.pieces, kNobody),
      leased_to_(options.pieces),
      seconds_per_piece_(static_cast<double>(options.piece_size_bytes) / kFirstGuess) {}

std::vector<LeaseBook::Change> LeaseBook::Take(SteadyTime now) {
  while (leases_.size() < MaxLeases() && GrantOne(now)) {
  }
  return std::exchange(changes_, {});
}

// So many that each holder gets a piece a second: more would only wait for each other, and on a
// slow origin would look stalled.
size_t LeaseBook::MaxLeases() const {
  if (!ranges_) return 1;
  return std::clamp(static_cast<size_t>(1 / std::max(1e-3, seconds_per_piece_)),
                    options_.min_leases, options_.max_leases);
}

// All holders share the origin's link: one piece of each takes as long as the pieces of all.
SteadyTime::duration LeaseBook::StallTime() const {
  const double turn = seconds_per_piece_ * static_cast<double>(leases_.size());
  return kStall + std::chrono::milliseconds(static_cast<int64_t>(turn * 2000));
}

// It fetches all its leases at once, each the slower for the others.
bool LeaseBook::HasStalled(NodeId holder, SteadyTime now) const {
  SteadyTime last{};
  int leases = 0;
  for (const Lease& lease : leases_) {
    if (lease.holder != holder) continue;
    last = std::max(last, lease.last_piece);
    ++leases;
  }
  return now - last >= StallTime() * leases;
}

// The first nodes of many that join at once must not share the whole blob out among themselves.
uint64_t LeaseBook::LeasePieces(SteadyTime now) const {
  if (!ranges_) return pieces();
  if (now - *first_grant_ < kYoung) {
    return std::max<uint64_t>(1, options_.min_lease_bytes / options_.piece_size_bytes);
  }
  const uint64_t share = left_ * options_.piece_size_bytes / (2 * accepting_.size() + 1);
  const uint64_t bytes = std::clamp(share, options_.min_lease_bytes, options_.max_lease_bytes);
  return std::max<uint64_t>(1, bytes / options_.piece_size_bytes);
}

bool LeaseBook::GrantOne(SteadyTime now) {
  while (first_wanted_ < wanted_.size() && wanted_[first_wanted_] == 0) ++first_wanted_;
  if (ready_.empty()) return false;
  uint32_t begin = first_wanted_;
  std::optional<uint32_t> holder;
  for (; begin < wanted_.size(); ++begin) {
    if (wanted_[begin] > 0 && (holder = NextHolder(begin))) break;
  }
  if (!holder) return false;
  if (!first_grant_) first_grant_ = now;
  const uint64_t most = LeasePieces(now);
  uint32_t end = begin;
  while (end < wanted_.size() && end - begin < most && wanted_[end] > 0 && MayFetch(*holder, end)) {
    if (leased_to_[end].size() >= kMaxFetchers) leased_to_[end].erase(leased_to_[end].begin());
    leased_to_[end].push_back(*holder);
    --wanted_[end++];
    --left_;
  }
  const PieceRun run{PieceIndex{begin}, end - begin};
  leases_.push_back({NodeId{*holder}, run, now, run.count, std::vector<bool>(run.count)});
  changes_.push_back({NodeId{*holder}, run, true});
  ready_.erase(*holder);
  next_holder_ = *holder + 1;
  return true;
}

// The next in turn that may.
std::optional<uint32_t> LeaseBook::NextHolder(uint32_t piece) const {
  auto holder = ready_.lower_bound(next_holder_);
  const size_t most = leased_to_[piece].size() + 2;
  for (size_t tried = 0; tried < std::min(most, ready_.size()); ++tried, ++holder) {
    if (holder == ready_.end()) holder = ready_.begin();
    if (MayFetch(*holder, piece)) return *holder;
  }
  return std::nullopt;
}

// Not twice: the same node would only say the same again.
bool LeaseBook::MayFetch(uint32_t node, uint32_t piece) const {
  return fetched_by_[piece] != node && !WasLeased(NodeId{node}, PieceIndex{piece});
}

bool LeaseBook::WasLeased(NodeId node, PieceIndex piece) const {
  if (Number(piece) >= leased_to_.size()) return false;
  const auto& nodes = leased_to_[Number(piece)];
  return std::ranges::find(nodes, manager::Number(node)) != nodes.end();
}

void LeaseBook::SetAccepts(NodeId node, bool accepts) {
  if (!accepts) {
    ReturnAllOf(node, false);
    accepting_.erase(manager::Number(node));
    ready_.erase(manager::Number(node));
    waiting_.erase(manager::Number(node));
    return;
  }
  accepting_.insert(manager::Number(node));
  const bool holds =
      std::ranges::any_of(leases_, [&](const Lease& lease) { return lease.holder == node; });
  if (!holds && !waiting_.contains(manager::Number(node))) ready_.insert(manager::Number(node));
}

void LeaseBook::Away(NodeId node, SteadyTime now) {
  if (!accepting_.contains(manager::Number(node))) return;
  ReturnAllOf(node, false);
  ready_.erase(manager::Number(node));
  waiting_[manager::Number(node)] = now + kAwayPause;
}

void LeaseBook::Leave(NodeId node) { SetAccepts(node, false); }

void LeaseBook::Lose(NodeId node, SteadyTime now) {
  Leave(node);
  for (uint32_t piece = 0; piece < pieces(); ++piece) {
    if (fetched_by_[piece] != manager::Number(node) || Age(piece, now) > kSpreads) continue;
    fetched_by_[piece] = kNobody;
    --fetched_;
    if (wanted_[piece] == 0) Free(piece);
  }
}

std::chrono::milliseconds LeaseBook::Age(uint32_t piece, SteadyTime now) const {
  return std::chrono::milliseconds(Milliseconds(now) - fetched_at_[piece]);
}

void LeaseBook::Present(NodeId node, const PieceBitmap& present, const PieceBitmap& kept) {
  for (uint32_t piece = 0; piece < pieces(); ++piece) {
    const PieceIndex index{piece};
    if (!present.Has(index)) {
      Forget(node, piece);
      continue;
    }
    const bool untold = kept.size() > 0 && kept.Has(index);
    const bool nobodys = fetched_by_[piece] == kNobody || (untold_[piece] && !untold);
    if (!untold && Fetched(node, index, {})) continue;
    if (options_.copies == 1 && nobodys) {
      WantNoMore(piece);
      fetched_ += fetched_by_[piece] == kNobody ? 1 : 0;
      fetched_by_[piece] = manager::Number(node);
      untold_[piece] = untold;
    }
    if (!untold) continue;
    if (fetched_by_[piece] == manager::Number(node)) untold_[piece] = true;
    MayFetchAgain(node, piece);
  }
}

// The node had fetched the piece and has it no more: it may do so again.
void LeaseBook::Forget(NodeId node, uint32_t piece) {
  if (fetched_by_[piece] == manager::Number(node)) {
    fetched_by_[piece] = kNobody;
    --fetched_;
  }
  MayFetchAgain(node, piece);
}

void LeaseBook::MayFetchAgain(NodeId node, uint32_t piece) {
  if (!leased_to_[piece].empty() && !IsUnderWay(piece)) {
    std::erase(leased_to_[piece], manager::Number(node));
  }
}

bool LeaseBook::IsUnderWay(uint32_t piece) const {
  return std::ranges::any_of(leases_, [&](const Lease& lease) {
    return piece >= lease.run.begin() && piece < lease.run.end() &&
           !lease.came[piece - lease.run.begin()];
  });
}

void LeaseBook::AllPresent(NodeId node) {
  if (options_.copies != 1) return;
  for (uint32_t piece = 0; piece < pieces(); ++piece) {
    untold_[piece] = false;
    if (wanted_[piece] == 0) continue;
    fetched_ += fetched_by_[piece] == kNobody ? 1 : 0;
    fetched_by_[piece] = manager::Number(node);
    WantNoMore(piece);
  }
}

bool LeaseBook::Fetched(NodeId node, PieceIndex index, SteadyTime now) {
  const uint32_t piece = Number(index);
  const auto lease = std::ranges::find_if(leases_, [&](const Lease& held) {
    return held.holder == node && piece >= held.run.begin() && piece < held.run.end();
  });
  if (lease == leases_.end() || lease->came[piece - lease->run.begin()]) return false;
  lease->came[piece - lease->run.begin()] = true;
  lease->last_piece = std::max(lease->last_piece, now);
  if (last_fetched_ != SteadyTime{}) {
    const double gap = std::chrono::duration<double>(lease->last_piece - last_fetched_).count();
    seconds_per_piece_ += 0.05 * (std::clamp(gap, 0.0, 1.0) - seconds_per_piece_);
  }
  last_fetched_ = std::max(last_fetched_, lease->last_piece);
  fetched_ += fetched_by_[piece] == kNobody ? 1 : 0;
  fetched_by_[piece] = manager::Number(node);
  untold_[piece] = false;
  fetched_at_[piece] = Milliseconds(lease->last_piece);
  missed_by_[piece] = kNobody;
  if (--lease->left == 0) leases_.erase(lease);
  if (Left(node) <= AheadPieces()) ready_.insert(manager::Number(node));
  return true;
}

uint64_t LeaseBook::Left(NodeId node) const {
  uint64_t left = 0;
  for (const Lease& lease : leases_) left += lease.holder == node ? lease.left : 0;
  return left;
}

uint64_t LeaseBook::AheadPieces() const {
  return std::max<uint64_t>(1, kAheadBytes / options_.piece_size_bytes);
}

void LeaseBook::Missing(NodeId reporter, PieceIndex index, bool fetcher_here, SteadyTime now) {
  const uint32_t piece = Number(index);
  if (piece >= pieces() || wanted_[piece] > 0) return;
  if (IsUnderWay(piece)) return;
  if (fetched_by_[piece] == manager::Number(reporter)) Forget(reporter, piece);
  if (fetched_by_[piece] == kNobody || !fetcher_here || untold_[piece]) {
    fetched_ -= fetched_by_[piece] == kNobody ? 0 : 1;
    fetched_by_[piece] = kNobody;
    untold_[piece] = false;
    Free(piece);
    return;
  }
  if (missed_by_[piece] == kNobody) missed_by_[piece] = manager::Number(reporter);
  if (missed_by_[piece] == manager::Number(reporter)) return;
  if (Age(piece, now) >= kAgainAfter) Free(piece);
}

void LeaseBook::Again(PieceIndex piece) {
  if (Number(piece) < pieces() && wanted_[Number(piece)] == 0) Free(Number(piece));
}

void LeaseBook::WantNoMore(uint32_t piece) { left_ -= std::exchange(wanted_[piece], 0); }

void LeaseBook::Free(uint32_t piece) {
  ++wanted_[piece];
  ++left_;
  missed_by_[piece] = kNobody;
  first_wanted_ = std::min(first_wanted_, piece);
}

void LeaseBook::WithoutRanges() {
  if (!ranges_) return;
  ranges_ = false;
  while (!leases_.empty()) ReturnAllOf(leases_.back().holder, true);
}

void LeaseBook::Tick(SteadyTime now) {
  for (size_t i = leases_.size(); i-- > 0;) {
    const NodeId holder = leases_[i].holder;
    if (!HasStalled(holder, now)) continue;
    ReturnAllOf(holder, true);
    ready_.erase(manager::Number(holder));
    waiting_[manager::Number(holder)] = now + kAwayPause;
    i = std::min(i, leases_.size());
  }
  std::erase_if(waiting_, [&](const auto& waiting) {
    if (waiting.second > now) return false;
    ready_.insert(waiting.first);
    return true;
  });
}

void LeaseBook::ReturnAllOf(NodeId node, bool told) {
  for (size_t i = leases_.size(); i-- > 0;) {
    if (leases_[i].holder != node) continue;
    if (told) changes_.push_back({node, leases_[i].run, false});
    Return(i);
  }
  if (accepting_.contains(manager::Number(node))) ready_.insert(manager::Number(node));
}

void LeaseBook::Return(size_t index) {
  const Lease lease = std::move(leases_[index]);
  leases_.erase(leases_.begin() + static_cast<std::ptrdiff_t>(index));
  for (uint32_t i = 0; i < lease.run.count; ++i) {
    if (lease.came[i]) continue;
    const uint32_t piece = lease.run.begin() + i;
    std::erase(leased_to_[piece], manager::Number(lease.holder));
    Free(piece);
  }
}

}  // namespace hearth::manager
