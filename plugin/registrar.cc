#include "plugin/registrar.h"

#include <utility>

#include "base/log.h"
#include "oci/media_type.h"

namespace hearth::plugin {

namespace {

constexpr std::chrono::seconds kLeaseLife{600};
constexpr char kContentRef[] = "containerd.io/gc.ref.content.";
constexpr char kSnapshotGcRef[] = "containerd.io/gc.ref.snapshot.";

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

}  // namespace

Registrar::Registrar(Options options)
    : options_(std::move(options)),
      worker_({.name = "register", .threads = 1, .queue_limit = options_.queue_limit}) {}

Registrar::~Registrar() { Stop(); }

void Registrar::Stop() {
  stop_.request_stop();
  worker_.Stop();
}

Result<bool> Registrar::IsRegistered(const ResolvedImage& image,
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

Status Registrar::AdoptDocuments(const ResolvedImage& image, const std::vector<ImageLayers>& images,
                                 const std::string& lease) {
  const std::string& ns = options_.containerd_namespace;
  for (size_t i = 0; i < images.size(); ++i) {
    const ImageLayers& one = images[i];
    ContentToAdopt manifest{
        .digest = one.manifest,
        .size_bytes = image.manifests[i].bytes.size(),
        .ref = IngestRef("manifest", one.manifest),
        .labels = {{std::string(kContentRef) + "config", one.config.digest.ToString()}}};
    for (size_t n = 0; n < one.layers.size(); ++n) {
      const ImageLayer& layer = one.layers[n];
      manifest.labels[std::string(kContentRef) + "l." + std::to_string(n)] =
          layer.blob.digest.ToString();
      TRY_STATUS(options_.containerd.AdoptContent(ns, lease, Layer(layer.blob, layer.diff_id)));
    }
    ContentToAdopt config{.digest = one.config.digest,
                          .size_bytes = one.config.size_bytes,
                          .ref = IngestRef("config", one.config.digest),
                          .labels = {}};
    if (const std::string top = TopChain(one); !top.empty()) {
      config.labels[kSnapshotGcRef + options_.snapshotter] = top;
    }
    TRY_STATUS(options_.containerd.AdoptContent(ns, lease, config));
    TRY_STATUS(options_.containerd.AdoptContent(ns, lease, manifest));
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
      target.labels[std::string(kContentRef) + "m." + std::to_string(n)] = one.manifest.ToString();
    }
  }
  return options_.containerd.AdoptContent(ns, lease, target);
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
  const std::string lease = TRY(options_.containerd.CreateLease(ns, kLeaseLife));
  const auto adopt = [&]() -> Status {
    for (const auto& one : images) {
      if (stop.stop_requested()) return Cancelled("registration");
      TRY_STATUS(AdoptSnapshots(one, lease));
    }
    TRY_STATUS(AdoptDocuments(image, images, lease));
    return options_.containerd.PutImage(ns, {.name = image.reference.ToString(),
                                             .media_type = image.target.media_type,
                                             .digest = image.target.digest,
                                             .size_bytes = image.target.size_bytes,
                                             .labels = {}});
  };
  const Status status = adopt().Annotate("register image " + image.reference.ToString() +
                                         " in containerd's namespace " + ns);
  const Status ended = options_.containerd.DeleteLease(ns, lease);
  if (!ended.ok()) LOG_WARNING("lease not deleted, it expires", {{"error", ended}});
  return status;
}

void Registrar::AdoptLayersSoon(const std::string& containerd_namespace,
                                std::shared_ptr<const ImageLayers> image) {
  const Status queued = worker_.Submit([this, containerd_namespace, image = std::move(image)] {
    if (stop_.stop_requested()) return;
    const auto adopt = [&]() -> Status {
      const std::string lease =
          TRY(options_.containerd.CreateLease(containerd_namespace, kLeaseLife));
      for (const auto& layer : image->layers) {
        TRY_STATUS(options_.containerd.AdoptContent(containerd_namespace, lease,
                                                    Layer(layer.blob, layer.diff_id)));
      }
      // The lease stays until it expires: the pull under way has yet to label its manifest.
      return OkStatus();
    };
    if (const Status status = adopt(); !status.ok()) {
      LOG_WARNING("layer blobs not adopted; export and push of this image will miss them",
                  {{"manifest", image->manifest.ToString()}, {"error", status}});
    }
  });
  if (!queued.ok()) LOG_WARNING("layer blobs not adopted", {{"error", queued}});
}

}  // namespace hearth::plugin
