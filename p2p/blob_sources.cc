#include "p2p/blob_sources.h"

#include <algorithm>

namespace hearth::p2p {

void BlobSources::Add(const Digest& blob, const SourceBytes& given) {
  MutexLock lock(mutex_);
  std::vector<SourceBytes>* sources = blobs_.Find(blob);
  if (sources == nullptr) {
    blobs_.Put(blob, {});
    sources = blobs_.Find(blob);
  }
  const auto find = [&](const std::string& name) {
    return std::ranges::find_if(*sources, [&](const SourceBytes& source) {
      return source.kind == given.kind && source.name == name;
    });
  };
  auto source = find(given.name);
  if (source != sources->end()) {
    source->bytes += given.bytes;
  } else if (sources->size() < kMaxSourcesPerBlob) {
    sources->push_back(given);
  } else if (source = find("others"); source != sources->end()) {
    source->bytes += given.bytes;
  } else {
    sources->push_back({given.kind, "others", given.bytes});  // one of each kind at most
  }
}

void BlobSources::Forget(const Digest& blob) {
  MutexLock lock(mutex_);
  blobs_.Erase(blob);
}

std::vector<SourceBytes> BlobSources::Of(const Digest& blob) const {
  std::vector<SourceBytes> sources;
  {
    MutexLock lock(mutex_);
    if (const auto* known = blobs_.Peek(blob)) sources = *known;
  }
  std::ranges::stable_sort(sources, std::ranges::greater(), &SourceBytes::bytes);
  return sources;
}

BlobSources::Totals BlobSources::TotalsOf(const Digest& blob) const {
  Totals totals;
  MutexLock lock(mutex_);
  const auto* const known = blobs_.Peek(blob);
  if (known == nullptr) return totals;
  for (const SourceBytes& source : *known) {
    (source.kind == ByteOrigin::kPeer ? totals.peer_bytes : totals.origin_bytes) += source.bytes;
  }
  return totals;
}

}  // namespace hearth::p2p
