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
      wanted_(pieces),
      requests_(pieces),
      holders_(pieces),
      random_(seed * 0x9e3779b97f4a7c15 + 1) {
  for (uint32_t piece = 0; piece < pieces; ++piece) wanted_.Set(piece);
}

std::optional<PieceIndex> Picker::Pick(SourceId id) {
  const Source& source = At(id);
  for (uint32_t piece = window_.begin(); piece < std::min(window_.end(), pieces_); ++piece) {
    if (IsFree(source, piece)) return PieceIndex{piece};
  }
  const auto piece = Rarest(source);
  if (!piece) return std::nullopt;
  return PieceIndex{*piece};
}

std::optional<PieceRun> Picker::PickRun(SourceId id, uint32_t most) {
  const auto first = Pick(id);
  if (!first || most == 0) return std::nullopt;
  const Source& source = At(id);
  // From the run's own start, so that a piece picked out of its middle does not cut it in two.
  uint32_t begin = Number(*first);
  if (!InWindow(*first)) {
    while (begin > 0 && IsFree(source, begin - 1) && Number(*first) - begin + 1 < most) --begin;
  }
  uint32_t end = Number(*first) + 1;
  while (end < pieces_ && end - begin < most && IsFree(source, end)) ++end;
  return PieceRun{PieceIndex{begin}, end - begin};
}

// Starts at a random piece, so that nodes which see the same counts ask for different pieces.
std::optional<uint32_t> Picker::Rarest(const Source& source) {
  const auto& has = source.has.words();
  const auto& wanted = wanted_.words();
  const size_t words = wanted.size();
  if (words == 0) return std::nullopt;
  const uint32_t start = static_cast<uint32_t>(Random() % pieces_);
  const uint64_t from_start = ~uint64_t{0} << (start % 64);
  std::optional<uint32_t> best;
  for (size_t step = 0; step <= words; ++step) {
    const size_t word = (start / 64 + step) % words;
    uint64_t left = has[word] & wanted[word];
    if (step == 0) left &= from_start;
    if (step == words) left &= ~from_start;
    for (; left != 0; left &= left - 1) {
      const uint32_t piece = static_cast<uint32_t>(word * 64) + std::countr_zero(left);
      if (best && holders_[piece] >= holders_[*best]) continue;
      best = piece;
      if (holders_[piece] <= 1) return best;
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
  if (present_.Has(piece)) return;
  present_.Set(piece);
  --missing_;
  if (wanted_.Has(piece)) --unasked_;
  wanted_.Clear(piece);
}

void Picker::AddSource(SourceId id) {
  const auto number = static_cast<uint32_t>(id);
  CHECK(number < kMaxSources);
  if (sources_.size() <= number) sources_.resize(number + 1);
  CHECK(!sources_[number].added);
  sources_[number] = {true, PieceWords(pieces_), {}};
}

void Picker::RemoveSource(SourceId id) {
  for (const uint32_t piece : std::vector(At(id).asked)) Ended(id, PieceIndex{piece});
  if (id != kOriginSource) {
    for (uint32_t piece = 0; piece < pieces_; ++piece) {
      if (At(id).has.Has(piece)) --holders_[piece];
    }
  }
  At(id) = Source();
}

void Picker::SourceHas(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  CHECK(piece < pieces_);
  Source& source = At(id);
  if (source.has.Has(piece)) return;
  source.has.Set(piece);
  if (id != kOriginSource) ++holders_[piece];
}

void Picker::SourceLost(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  CHECK(piece < pieces_);
  Source& source = At(id);
  if (!source.has.Has(piece)) return;
  source.has.Clear(piece);
  if (id != kOriginSource) --holders_[piece];
}

bool Picker::Has(SourceId id, PieceIndex piece) const { return At(id).has.Has(Number(piece)); }

void Picker::Asked(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  CHECK(piece < pieces_);
  At(id).asked.push_back(piece);
  ++requests_[piece];
  if (!wanted_.Has(piece)) return;
  wanted_.Clear(piece);
  --unasked_;
}

void Picker::Ended(SourceId id, PieceIndex index) {
  const uint32_t piece = Number(index);
  auto& asked = At(id).asked;
  const auto found = std::ranges::find(asked, piece);
  CHECK(found != asked.end());
  asked.erase(found);
  if (--requests_[piece] > 0 || present_.Has(piece)) return;
  wanted_.Set(piece);
  ++unasked_;
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

bool Picker::IsFree(const Source& source, uint32_t piece) const {
  return source.has.Has(piece) && wanted_.Has(piece);
}

// xorshift64*: small, and the same on every machine.
uint64_t Picker::Random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1d;
}

}  // namespace hearth::p2p
