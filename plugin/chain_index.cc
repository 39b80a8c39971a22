#include "plugin/chain_index.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/log.h"
#include "oci/chain_id.h"
#include "oci/config.h"
#include "oci/reference.h"
#include "plugin/document.h"

namespace hearth::plugin {

namespace {

// A mount's options have one page (4 KiB), which this many paths under the usual root fill.
constexpr size_t kMaxLayers = 128;
constexpr size_t kMaxRejected = 4096;

std::string OriginKey(const oci::Access& access) {
  return access.registry + "/" + access.repository;
}

std::string KeyOf(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes().data()), Digest::kBytes};
}

std::optional<Digest> DigestOf(std::string_view key) {
  if (key.size() != Digest::kBytes) return std::nullopt;
  std::array<uint8_t, Digest::kBytes> raw{};
  std::copy(key.begin(), key.end(), raw.begin());
  return Digest(raw);
}

// The kind of "<namespace>/<n>/<kind>-sha256:…" ("manifest", "config", "layer", …).
std::string_view KindOfRef(std::string_view ref) {
  const size_t digest = ref.rfind("-sha256:");
  if (digest == std::string_view::npos) return {};
  ref = ref.substr(0, digest);
  const size_t slash = ref.rfind('/');
  return slash == std::string_view::npos ? ref : ref.substr(slash + 1);
}

}  // namespace

std::optional<Digest> ImageLayers::ParentChain(size_t index) const {
  if (index == 0) return std::nullopt;
  return layers[index - 1].chain;
}

Result<ImageLayers> JoinLayers(const Digest& digest, const oci::Manifest& manifest,
                               std::string_view config_bytes) {
  const auto config = TRY(oci::ImageConfig::Parse(config_bytes));
  if (config.diff_ids.size() != manifest.layers.size()) {
    return InvalidArgument("manifest " + digest.ToString() + ": " +
                           std::to_string(manifest.layers.size()) + " layers, but its config has " +
                           std::to_string(config.diff_ids.size()) + " diff IDs");
  }
  if (manifest.layers.size() > kMaxLayers) {
    return FailedPrecondition("manifest " + digest.ToString() + ": " +
                              std::to_string(manifest.layers.size()) +
                              " layers; overlay mounts take at most " + std::to_string(kMaxLayers) +
                              " (build the image with fewer)");
  }
  ImageLayers image{.manifest = digest, .config = manifest.config, .layers = {}};
  const auto chains = oci::ChainIds(config.diff_ids);
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    image.layers.push_back({manifest.layers[i], config.diff_ids[i], chains[i]});
  }
  return image;
}

void ChainIndex::OnManifest(const SeenManifest& seen) {
  const oci::Access origin{seen.registry, seen.repository, seen.authorization};
  AddManifest(seen.digest, seen.body, seen.media_type, &origin, false);
}

void ChainIndex::OnCommitted(const std::string& ref, const Digest& digest, uint64_t size_bytes) {
  if (KindOfRef(ref) != "manifest" || size_bytes > oci::kMaxManifestBytes) return;
  const auto bytes = Read(digest, oci::kMaxManifestBytes);
  if (bytes.ok()) AddManifest(digest, *bytes, "", nullptr, false);
}

Status ChainIndex::Remember(const ImageLayers& image, const oci::Access& origin) {
  kv::Batch batch;
  for (const auto& layer : image.layers) {
    batch.Put(kv::Family::kChains, KeyOf(layer.chain), KeyOf(image.manifest));
  }
  batch.Put(kv::Family::kSources, KeyOf(image.manifest),
            origin.registry + "\n" + origin.repository);
  {
    MutexLock records(records_mutex_);
    TRY_STATUS(options_.kv.Write(batch, kv::Sync::kNo));
  }
  MutexLock lock(mutex_);
  Image& entry = Touch(image.manifest);
  AddOrigin(entry, origin, true);
  Index(entry, image);
  return OkStatus();
}

void ChainIndex::AddManifest(const Digest& digest, std::string_view bytes,
                             std::string_view media_type, const oci::Access* origin,
                             bool preheated) {
  auto manifest = oci::Manifest::Parse(bytes, media_type);
  if (!manifest.ok()) return;  // an index, or not for us
  MutexLock lock(mutex_);
  Image& image = Touch(digest);
  if (!image.manifest) image.manifest = std::move(*manifest);
  if (origin != nullptr) AddOrigin(image, *origin, preheated);
}

void ChainIndex::AddOrigin(Image& image, const oci::Access& origin, bool preheated) {
  const SteadyTime now = options_.clock.SteadyNow();
  std::erase_if(image.origins, [&](const auto& old) { return old.second.second < now; });
  if (preheated) {
    image.preheated_from = oci::Access{origin.registry, origin.repository, {}};
  } else {
    image.origins[OriginKey(origin)] = {origin, now + options_.source_ttl};
  }
}

ChainIndex::Image& ChainIndex::Touch(const Digest& digest) {
  if (const auto known = by_manifest_.find(digest); known != by_manifest_.end()) {
    images_.splice(images_.begin(), images_, known->second);
    return images_.front();
  }
  images_.emplace_front();
  images_.front().digest = digest;
  by_manifest_[digest] = images_.begin();
  while (images_.size() > options_.max_images) {
    const Image& oldest = images_.back();
    if (oldest.layers) {
      for (const auto& layer : oldest.layers->layers) {
        const auto entry = by_chain_.find(layer.chain);
        if (entry == by_chain_.end()) continue;
        std::erase(entry->second, oldest.digest);
        if (entry->second.empty()) by_chain_.erase(entry);
      }
    }
    by_manifest_.erase(oldest.digest);
    images_.pop_back();
  }
  return images_.front();
}

void ChainIndex::Index(Image& image, ImageLayers layers) {
  if (image.layers) return;
  for (const auto& layer : layers.layers) {
    auto& manifests = by_chain_[layer.chain];
    if (std::find(manifests.begin(), manifests.end(), image.digest) == manifests.end()) {
      manifests.push_back(image.digest);
    }
  }
  image.layers = std::make_shared<const ImageLayers>(std::move(layers));
}

void ChainIndex::JoinPending() {
  std::vector<std::pair<Digest, oci::Manifest>> pending;
  {
    MutexLock lock(mutex_);
    for (const auto& image : images_) {
      if (!image.layers && image.manifest) pending.emplace_back(image.digest, *image.manifest);
    }
  }
  for (const auto& [digest, manifest] : pending) {
    const auto config = Read(manifest.config.digest, oci::kMaxConfigBytes);
    if (!config.ok()) continue;  // not here yet
    auto layers = JoinLayers(digest, manifest, *config);
    if (layers.ok()) KeepChains(*layers);
    MutexLock lock(mutex_);
    const auto known = by_manifest_.find(digest);
    if (known == by_manifest_.end()) continue;
    if (layers.ok()) {
      Index(*known->second, std::move(*layers));
    } else {
      LOG_WARNING("image is not usable",
                  {{"manifest", digest.ToString()}, {"error", layers.status()}});
      known->second->manifest.reset();  // do not try again
    }
  }
}

void ChainIndex::KeepChains(const ImageLayers& image) {
  kv::Batch batch;
  bool any = false;
  MutexLock records(records_mutex_);
  for (const auto& layer : image.layers) {
    // A preheat's record stays: it also says where the image is from.
    const auto known = options_.kv.Get(kv::Family::kChains, KeyOf(layer.chain));
    if (known.ok() && IsUseful(*known)) continue;
    batch.Put(kv::Family::kChains, KeyOf(layer.chain), KeyOf(image.manifest));
    any = true;
  }
  if (!any) return;
  if (const Status status = options_.kv.Write(batch, kv::Sync::kNo); !status.ok()) {
    LOG_WARNING("chains not kept; a pull after a restart is containerd's own",
                {{"manifest", image.manifest.ToString()}, {"error", status}});
  }
}

bool ChainIndex::IsUseful(std::string_view manifest_key) {
  const auto manifest = DigestOf(manifest_key);
  if (!manifest) return false;
  {
    MutexLock lock(mutex_);
    if (by_manifest_.contains(*manifest)) return true;
  }
  return options_.blobs.Info(*manifest).status().code() != StatusCode::kNotFound;
}

Status ChainIndex::Sweep() {
  MutexLock records(records_mutex_);
  const std::string prefix(1, static_cast<char>(next_sweep_++));
  kv::Batch batch;
  for (const auto family : {kv::Family::kChains, kv::Family::kSources}) {
    size_t kept = 0;
    TRY_STATUS(options_.kv.Scan(family, prefix, [&](std::string_view key, std::string_view value) {
      const auto manifest_key = family == kv::Family::kChains ? value : key;
      if (kept < kMaxChainRecords / 256 && IsUseful(manifest_key)) {
        ++kept;
      } else {
        batch.Delete(family, std::string(key));
      }
      return true;
    }));
  }
  return batch.empty() ? OkStatus() : options_.kv.Write(batch, kv::Sync::kNo);
}

void ChainIndex::LoadFromDisk(const Digest& chain) {
  const auto key = options_.kv.Get(kv::Family::kChains, KeyOf(chain));
  const auto manifest = key.ok() ? DigestOf(*key) : std::nullopt;
  if (!manifest) return;
  const Digest manifest_digest = *manifest;
  const auto bytes = Read(manifest_digest, oci::kMaxManifestBytes);
  if (!bytes.ok()) return;
  std::optional<oci::Access> origin;
  if (const auto source = options_.kv.Get(kv::Family::kSources, *key); source.ok()) {
    const size_t newline = source->find('\n');
    if (newline != std::string::npos) {
      origin = oci::Access{source->substr(0, newline), source->substr(newline + 1), {}};
    }
  }
  AddManifest(manifest_digest, *bytes, "", origin ? &*origin : nullptr, true);
}

std::vector<ChainIndex::Candidate> ChainIndex::Find(const Digest& chain,
                                                    const std::string& image_ref) {
  const auto known = [&] {
    MutexLock lock(mutex_);
    return by_chain_.contains(chain);
  };
  JoinPending();
  if (!known()) {
    LoadFromDisk(chain);
    JoinPending();
  }
  std::optional<oci::Access> named;
  if (const auto reference = oci::Reference::Parse(image_ref); reference.ok()) {
    named = oci::Access{reference->domain, reference->path, {}};
  }

  std::vector<Candidate> candidates;
  MutexLock lock(mutex_);
  const auto manifests = by_chain_.find(chain);
  if (manifests == by_chain_.end()) return candidates;
  for (const auto& digest : manifests->second) {
    const auto rejected = rejected_.find({chain, digest});
    if (rejected != rejected_.end() && rejected->second > options_.clock.SteadyNow()) continue;
    const Image& image = *by_manifest_.at(digest);
    Candidate candidate{.image = image.layers, .index = 0, .origins = {}};
    while (candidate.image->layers[candidate.index].chain != chain) ++candidate.index;
    // The callers' own access first, then what needs none or the node's.
    std::set<std::string> known_origins;
    for (const auto& [key, origin] : image.origins) {
      if (origin.second < options_.clock.SteadyNow()) continue;
      candidate.origins.push_back(origin.first);
      known_origins.insert(key);
    }
    for (const auto& access : {image.preheated_from, named}) {
      if (access && known_origins.insert(OriginKey(*access)).second) {
        candidate.origins.push_back(*access);
      }
    }
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

void ChainIndex::Reject(const Digest& chain, const Digest& manifest) {
  MutexLock lock(mutex_);
  if (rejected_.size() >= kMaxRejected) rejected_.clear();
  rejected_[{chain, manifest}] = options_.clock.SteadyNow() + kRejectFor;
}

Result<std::string> ChainIndex::Read(const Digest& digest, uint64_t limit_bytes) const {
  return ReadDocument(*TRY(options_.blobs.Open(digest)), limit_bytes);
}

}  // namespace hearth::plugin
