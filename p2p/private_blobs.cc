#include "p2p/private_blobs.h"

#include "base/log.h"

namespace hearth::p2p {

namespace {

std::string KeyOf(const Digest& blob) { return "private/" + blob.hex(); }

}  // namespace

void PrivateBlobs::Add(const Digest& blob) {
  if (Contains(blob)) return;
  const Status kept = kv_.Put(kv::Family::kMeta, KeyOf(blob), "", kv::Sync::kYes);
  if (!kept.ok()) LOG_ERROR("not recorded that a blob is private", {{"error", kept}});
}

bool PrivateBlobs::Contains(const Digest& blob) const {
  const auto found = kv_.Get(kv::Family::kMeta, KeyOf(blob));
  return found.ok() || found.status().code() != StatusCode::kNotFound;
}

}  // namespace hearth::p2p
