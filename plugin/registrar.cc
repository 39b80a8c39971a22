#include "plugin/registrar.h"

#include <thread>
#include <utility>

#include "base/log.h"
#include "oci/media_type.h"

namespace hearth::plugin {

namespace {

constexpr std::chrono::seconds kLeaseLife{600};
// Of the lease on adopted blobs. kubelet removes images that are minutes old, and expects their
// bytes then.
constexpr std::chrono::seconds kAdoptionLeaseLife{20};
// containerd pauses up to 3 s before it connects again to a node that was away.
constexpr std::chrono::seconds kReconnectWait{6};
constexpr std::chrono::milliseconds kReconnectPause{200};

std::string IngestRef(std::string_view kind, const Digest& digest) {
  return std::string(kind) + "-" + digest.ToString();
}

ContentToAdopt Layer(const oci::Descriptor& blob, const Digest& diff_id) {
  return {.digest = blob.digest,
          .size_bytes = blob.size_bytes,
          .ref = IngestRef("layer", blob.digest),
          .labels = {{"containerd.io/uncompressed", diff_id.ToString()}}};
}

std::string TopChain(const ImageLayers& image) {
  return image.layers.empty() ? "" : image.layers.back().chain.ToString();
}

Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

// Calls again while what we ask of containerd fails because it has not found us yet.
template <typename Call>
auto WhileReconnecting(const std::stop_token& stop, const Call& call) {
  const Deadline deadline = Deadline::After(kReconnectWait);
  auto answer = call();
  while (StatusOf(answer).code() == StatusCode::kUnavailable && !deadline.Passed() &&
         !stop.stop_requested()) {
    std::this_thread::sleep_for(kReconnectPause);
    answer = call();
  }
  return answer;
}

}  // namespace

Registrar::Registrar(Options options)
    : options_(std::move(options)),
      worker_({.name = "register", .threads = 1, .queue_limit = options_.queue_limit}) {}

Registrar::~Registrar() { Stop(); }

void Registrar::Stop() {
  stop_.request_stop();
  options_.containerd.Stop();
  worker_.Join();
}

Result<bool> Registrar::IsRegistered(const ResolvedImage& image,
                                     const std::vector<ImageLayers>& images) {
  return WhileReconnecting(stop_.get_token(), [&] { return AskIfRegistered(image, images); });
}

Result<bool> Registrar::AskIfRegistered(const ResolvedImage& image,
                                        const std::vector<ImageLayers>& images) {
  const std::string& ns = options_.containerd_namespace;
  const auto record = options_.containerd.GetImage(ns, image.reference.ToString());
  if (record.status().code() == StatusCode::kNotFound) return false;
  if (!record.ok()) return record.status();
  if (record->digest != image.target.digest) return false;
  for (const auto& one : images) {
    if (!TRY(options_.containerd.HasContent(ns, one.manifest))) return false;
    if (!TRY(options_.containerd.HasContent(ns, one.config.digest))) return false;
    const std::string top = TopChain(one);
    if (top.empty()) continue;
    if (!TRY(options_.containerd.HasSnapshot(ns, options_.snapshotter, top))) return false;
  }
  return true;
}

Status Registrar::AdoptOrWrite(const std::string& lease, const ContentToAdopt& content,
                               const std::stop_token& stop) {
  const std::string& ns = options_.containerd_namespace;
  const Status adopted = options_.containerd.AdoptContent(ns, lease, content);
  if (adopted.code() != StatusCode::kFailedPrecondition) return adopted;
  const auto blob = TRY(options_.blobs.Open(content.digest));
  ContentToAdopt written = content;
  written.ref = IngestRef("bytes", content.digest);  // containerd may still hold the other's lock
  return options_.bytes.WriteContent(ns, lease, written, *blob, stop);
}

Status Registrar::AdoptDocuments(const ResolvedImage& image, const std::vector<ImageLayers>& images,
                                 const std::string& lease, const std::stop_token& stop) {
  for (size_t i = 0; i < images.size(); ++i) {
    const ImageLayers& one = images[i];
    ContentToAdopt manifest{
        .digest = one.manifest,
        .size_bytes = image.manifests[i].bytes.size(),
        .ref = IngestRef("manifest", one.manifest),
        .labels = {{std::string(kContentGcRef) + "config", one.config.digest.ToString()}}};
    for (size_t n = 0; n < one.layers.size(); ++n) {
      const ImageLayer& layer = one.layers[n];
      manifest.labels[std::string(kContentGcRef) + "l." + std::to_string(n)] =
          layer.blob.digest.ToString();
      TRY_STATUS(AdoptOrWrite(lease, Layer(layer.blob, layer.diff_id), stop));
    }
    ContentToAdopt config{.digest = one.config.digest,
                          .size_bytes = one.config.size_bytes,
                          .ref = IngestRef("config", one.config.digest),
                          .labels = {}};
    if (const std::string top = TopChain(one); !top.empty()) {
      config.labels[kSnapshotGcRef + options_.snapshotter] = top;
    }
    TRY_STATUS(AdoptOrWrite(lease, config, stop));
    TRY_STATUS(AdoptOrWrite(lease, manifest, stop));
  }
  if (!oci::IsIndexType(image.target.media_type)) return OkStatus();
  const auto index = TRY(oci::Index::Parse(image.target_bytes, image.target.media_type));
  ContentToAdopt target{.digest = image.target.digest,
                        .size_bytes = image.target.size_bytes,
                        .ref = IngestRef("index", image.target.digest),
                        .labels = {}};
  for (size_t n = 0; n < index.manifests.size(); ++n) {
    for (const auto& one : images) {
      if (index.manifests[n].digest != one.manifest) continue;
      target.labels[std::string(kContentGcRef) + "m." + std::to_string(n)] =
          one.manifest.ToString();
    }
  }
  return AdoptOrWrite(lease, target, stop);
}

Status Registrar::AdoptSnapshots(const ImageLayers& image, const std::string& lease) {
  for (size_t i = 0; i < image.layers.size(); ++i) {
    TRY_STATUS(options_.containerd.AdoptSnapshot(options_.containerd_namespace, lease,
                                                 options_.snapshotter, image.layers[i].chain,
                                                 image.ParentChain(i)));
  }
  return OkStatus();
}

Status Registrar::Register(const ResolvedImage& image, const std::vector<ImageLayers>& images,
                           std::stop_token stop) {
  const std::string& ns = options_.containerd_namespace;
  return UnderLease(options_.containerd, ns, kLeaseLife, [&](const std::string& lease) {
    const auto adopt = [&]() -> Status {
      TRY_STATUS(AdoptDocuments(image, images, lease, stop));
      for (const auto& one : images) {
        if (stop.stop_requested()) return Cancelled("registration");
        TRY_STATUS(AdoptSnapshots(one, lease));
      }
      return options_.containerd.PutImage(ns, {.name = image.reference.ToString(),
                                               .media_type = image.target.media_type,
                                               .digest = image.target.digest,
                                               .size_bytes = image.target.size_bytes,
                                               .labels = {}});
    };
    return WhileReconnecting(stop, adopt)
        .Annotate("register image " + image.reference.ToString() + " in containerd's namespace " +
                  ns);
  });
}

void Registrar::AdoptBlob(const std::string& containerd_namespace, const store::LayerInfo& layer,
                          std::function<void()> adopted) {
  const auto work = [this, containerd_namespace, blob = layer.blob, diff_id = layer.diff_id,
                     adopted] {
    const Status status = AdoptNow(containerd_namespace, blob, diff_id);
    if (!status.ok()) {
      LOG_WARNING(
          "layer blob not adopted: check, export and push of its image will miss it",
          {{"blob", blob.ToString()}, {"namespace", containerd_namespace}, {"error", status}});
    }
    adopted();
  };
  if (!worker_.Submit(work).ok()) adopted();  // each pull of it tries again
}

Status Registrar::AdoptNow(const std::string& containerd_namespace, const Digest& digest,
                           const Digest& diff_id) {
  if (stop_.stop_requested() || std::chrono::steady_clock::now() < elsewhere_until_) {
    return OkStatus();
  }
  if (TRY(options_.containerd.HasContent(containerd_namespace, digest))) return OkStatus();
  oci::Descriptor blob;
  blob.digest = digest;
  blob.size_bytes = TRY(options_.blobs.Info(digest)).size_bytes;
  const auto adopt = [&]() -> Status {
    return options_.containerd.AdoptContent(
        containerd_namespace, TRY(LeaseFor(containerd_namespace)), Layer(blob, diff_id));
  };
  Status status = adopt();
  if (status.code() == StatusCode::kNotFound) {
    leases_.erase(containerd_namespace);  // it went with containerd's root
    status = adopt();
  }
  if (status.code() == StatusCode::kFailedPrecondition) {
    elsewhere_until_ = std::chrono::steady_clock::now() + options_.elsewhere_pause;
  }
  return status;
}

Result<std::string> Registrar::LeaseFor(const std::string& containerd_namespace) {
  auto& [lease, renew] = leases_[containerd_namespace];
  if (lease.empty() || std::chrono::steady_clock::now() >= renew) {
    lease = TRY(options_.containerd.CreateLease(containerd_namespace, kAdoptionLeaseLife));
    renew = std::chrono::steady_clock::now() + kAdoptionLeaseLife / 2;
  }
  return lease;
}

}  // namespace hearth::plugin
