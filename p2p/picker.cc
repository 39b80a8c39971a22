#include "p2p/picker.h"

#include <algorithm>
#include <bit>

#include "base/status.h"

namespace hearth::p2p {

Picker::Picker(uint32_t pieces, uint64_t seed)
    : pieces_(pieces),
      missing_(pieces),
      unasked_(pieces),
      present_(pieces),
      kept_(pieces),
      wanted_(pieces),
      leased_(pieces),
      held_(pieces),
      requests_(pieces),
      held_by_(pieces),
      random_(seed * 0x9e3779b97f4a7c15 + 1) {
  for (uint32_t piece = 0; piece < pieces; ++piece) wanted_.Set(piece);
}

std::optional<PieceIndex> Picker::Pick(SourceId id) {
  CHECK(At(id).added);
  if (free_[static_cast<uint32_t>(id)] == 0) return std::nullopt;
  for (uint32_t piece = window_.begin(); piece < std::min(window_.end(), pieces_); ++piece) {
    if (IsFree(id, piece)) return PieceIndex{piece};
  }
  const auto piece = Rarest(id);
  if (!piece) return std::nullopt;
  return PieceIndex{*piece};
}

std::optional<PieceRun> Picker::PickRun(SourceId id, uint32_t most) {
  const auto first = Pick(id);
  if (!first || most == 0) return std::nullopt;
  // From the run's own start, so that a piece picked out of its middle does not cut it in two.
  uint32_t begin = Number(*first);
  if (!InWindow(*first)) {
    while (begin > 0 && IsFree(id, begin - 1) && Number(*first) - begin + 1 < most) --begin;
  }
  uint32_t end = Number(*first) + 1;
  while (end < pieces_ && end - begin < most && IsFree(id, end)) ++end;
  return PieceRun{PieceIndex{begin}, end - begin};
}

// Starts at a random piece, so that nodes which see the same counts ask for different pieces.
std::optional<uint32_t> Picker::Rarest(SourceId id) {
  const auto& has = (id == kOriginSource ? leased_ : held_).words();
  const auto& wanted = wanted_.words();
  const size_t words = wanted.size();
  const uint32_t start = static_cast<uint32_t>(Random() % pieces_);
  const uint64_t from_start = ~uint64_t{0} << (start % 64);
  std::optional<uint32_t> best;
  uint32_t least = UINT32_MAX;  // holders
  for (size_t step = 0; step <= words; ++step) {
    const size_t word = (start / 64 + step) % words;
    uint64_t left = has[word] & wanted[word];
    if (step == 0) left &= from_start;
    if (step == words) left &= ~from_start;
    for (; left != 0; left &= left - 1) {
      const uint32_t piece =
          static_cast<uint32_t>(word * 64) + static_cast<uint32_t>(std::countr_zero(left));
      if (!Has(id, piece) || !MayGive(id, piece)) continue;
      const uint32_t holders = HoldersOf(piece);
      if (holders >= least) continue;
      best = piece;
      least = holders;
      if (least <= 1) return best;
    }
  }
  return best;
}

std::optional<PieceIndex> Picker::RandomMissing() {
  if (unasked_ == 0) return std::nullopt;
  const auto start = static_cast<uint32_t>(Random() % pieces_);
  for (uint32_t step = 0; step < pieces_; ++step) {
    const uint32_t piece = (start + step) % pieces_;
    if (wanted_.Has(piece)) return PieceIndex{piece};
  }
  return std::nullopt;
}

void Picker::SetPresent(PieceIndex index) {
  const uint32_t piece = Number(index);
  CHECK(piece < pieces_);
  missing_ -= present_.Has(piece) ? 0 : 1;
  present_.Set(piece);
  SetWanted(piece, false);
  kept_pieces_ -= kept_.Has(piece) ? 1 : 0;
  kept_.Clear(piece);
}

void Picker::SetKept(PieceIndex index) {
  SetPresent(index);
  kept_.Set(Number(index));
  ++kept_pieces_;
  SetWanted(Number(index), IsLacking(Number(index)));
}

bool Picker::IsLacking(uint32_t piece) const {
  return requests_[piece] == 0 && (!present_.Has(piece) || (IsKept(piece) && leased_.Has(piece)));
}

void Picker::AddSource(SourceId id) {
  const auto number = static_cast<uint32_t>(id);
  CHECK(number < kMaxSources);
  if (sources_.size() <= number) sources_.resize(number + 1);
  CHECK(!sources_[number].added);
  sources_[number].added = true;
}

void Picker::RemoveSource(SourceId id) {
  for (const uint32_t piece : std::vector(At(id).asked)) Ended(id, PieceIndex{piece});
  for (uint32_t piece = 0; piece < pieces_; ++piece) SetHas(id, piece, false);
  At(id) = Source();
}

void Picker::SourceHas(SourceId id, PieceIndex index) {
  CHECK(At(id).added && Number(index) < pieces_);
  SetHas(id, Number(index), true);
}

void Picker::SourceLost(SourceId id, PieceIndex index) {
  CHECK(At(id).added && Number(index) < pieces_);
  SetHas(id, Number(index), false);
}

bool Picker::Has(SourceId id, PieceIndex piece) const {
  CHECK(At(id).added && Number(piece) < pieces_);
  return Has(id, Number(piece));
}

void Picker::SetHas(SourceId id, uint32_t piece, bool has) {
  if (Has(id, piece) == has) return;
  if (id == kOriginSource) {
    if (!has && IsKept(piece)) SetWanted(piece, false);
    leased_.SetTo(piece, has);
  } else {
    held_by_[piece] ^= BitOf(id);
    held_.SetTo(piece, held_by_[piece] != 0);
  }
  if (wanted_.Has(piece) && MayGive(id, piece)) Offer(id, has);
  if (IsKept(piece)) SetWanted(piece, IsLacking(piece));
}

void Picker::SetWanted(uint32_t piece, bool wanted) {
  if (wanted_.Has(piece) == wanted) return;
  wanted_.SetTo(piece, wanted);
  unasked_ += wanted ? 1 : -1;
  if (leased_.Has(piece)) Offer(kOriginSource, wanted);
  if (IsKept(piece)) return;
  for (uint64_t left = held_by_[piece]; left != 0; left &= left - 1) {
    Offer(SourceId{static_cast<uint32_t>(std::countr_zero(left)) + 1}, wanted);
  }
}

// The source has one more, or one less, of the pieces that are wanted.
void Picker::Offer(SourceId id, bool more) {
  uint32_t& free = free_[static_cast<uint32_t>(id)];
  free += more ? 1 : -1;
  if (id == kOriginSource) return;
  offering_ = free > 0 ? offering_ | BitOf(id) : offering_ & ~BitOf(id);
}

void Picker::Asked(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  CHECK(piece < pieces_);
  At(id).asked.push_back(piece);
  ++requests_[piece];
  SetWanted(piece, false);
}

void Picker::Ended(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  auto& asked = At(id).asked;
  const auto found = std::ranges::find(asked, piece);
  CHECK(found != asked.end());
  asked.erase(found);
  --requests_[piece];
  if (IsLacking(piece)) SetWanted(piece, true);
}

std::string Picker::Picture() const {
  std::string picture;
  for (uint32_t piece = 0; piece < pieces_; ++piece) {
    picture += present_.Has(piece) ? '1' : requests_[piece] > 0 ? 'r' : '.';
  }
  return picture;
}

Picker::Source& Picker::At(SourceId id) { return const_cast<Source&>(std::as_const(*this).At(id)); }

const Picker::Source& Picker::At(SourceId id) const {
  const auto number = static_cast<uint32_t>(id);
  CHECK(number < sources_.size() && sources_[number].added);
  return sources_[number];
}

// xorshift64*: small, and the same on every machine.
uint64_t Picker::Random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1d;
}

}  // namespace hearth::p2p
