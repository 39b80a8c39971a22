#include "plugin/preheat.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "oci/config.h"
#include "plugin/blob_check.h"

namespace hearth::plugin {

Result<Depth> ParseDepth(std::string_view name) {
  if (name == "blobs") return Depth::kBlobs;
  if (name == "layers") return Depth::kLayers;
  if (name == "image") return Depth::kImage;
  return InvalidArgument("depth \"" + std::string(name) + "\": not one of blobs, layers, image");
}

std::string_view DepthName(Depth depth) {
  switch (depth) {
    case Depth::kBlobs:
      return "blobs";
    case Depth::kLayers:
      return "layers";
    case Depth::kImage:
      return "image";
  }
  return "image";
}

// One run for one image.
class Preheater::Work {
 public:
  Work(const Options& options, const PreheatRequest& request,
       const std::function<void(const PreheatProgress&)>& progress, std::stop_token stop)
      : options_(options),
        request_(request),
        depth_(request.depth),
        report_(progress),
        stop_(std::move(stop)) {}

  Result<PreheatResult> Run() {
    TRY_STATUS(ChooseDepth());
    image_ = TRY(
        options_.resolver.Resolve(request_.reference, request_.platforms, stop_, request_.login));
    Done("resolved", image_.target.digest.ToString() + " at " + image_.origin.registry);
    if (request_.look_only) return Look();
    TRY_STATUS(DropDamaged());
    CountDocuments();
    TRY_STATUS(KeepDocuments());
    TRY_STATUS(FetchConfigs());
    TRY_STATUS(MarkDocuments());
    TRY_STATUS(MakeRoom());
    Done("documents kept");
    TRY_STATUS(Begin());
    Report();
    TRY_STATUS(WaitForLayers());
    Report();
    TRY_STATUS(MarkDocuments());
    for (Layer& layer : layers_) TRY_STATUS(Mark(layer));
    Done("marked as preheated");
    if (depth_ == Depth::kImage) {
      const bool registered = TRY(options_.registrar->IsRegistered(image_, images_));
      if (!registered) {
        TRY_STATUS(options_.registrar->Register(image_, images_, stop_));
        did_something_ = true;
      }
      Done("registered", registered ? "it was before" : "");
    }
    const auto given = Given();
    return PreheatResult{.digest = image_.target.digest,
                         .depth = depth_,
                         .already_warm = !did_something_,
                         .bytes_fetched = bytes_fetched_,
                         .bytes_total = bytes_total_,
                         .peer_bytes = given.peer_bytes,
                         .origin_bytes = given.origin_bytes,
                         .copies = TRY(Copies())};
  }

 private:
  Status ChooseDepth() {
    if (depth_ != Depth::kImage) return OkStatus();
    if (options_.registrar == nullptr) {
      return FailedPrecondition(
          "depth image: no containerd is configured (set containerd.address, or ask for layers)");
    }
    // One that does not answer is waited for later, when it is needed.
    const auto loaded = options_.registrar->SnapshotterLoaded();
    if (!loaded.ok() || *loaded) return OkStatus();
    if (!request_.is_default_depth) {
      return FailedPrecondition(
          "depth image: containerd runs without snapshotter hearth (ask for depth blobs, or run: "
          "hearth install --level snapshotter, and restart containerd)");
    }
    depth_ = Depth::kBlobs;
    return OkStatus();
  }

  Result<PreheatResult> Look() {
    CountDocuments();
    uint64_t missing_bytes = bytes_fetched_;
    uint64_t unpacked_bytes = 0;  // as MakeRoom() counts them
    uint32_t layers_missing = 0;
    for (const auto& manifest : image_.manifests) {
      const auto& config = manifest.manifest.config;
      std::optional<ImageLayers> known;  // its chain IDs
      if (Has(config.digest)) {
        const auto bytes = TRY(options_.resolver.Read(config.digest, oci::kMaxConfigBytes));
        known = TRY(JoinLayers(manifest.descriptor.digest, manifest.manifest, bytes));
      }
      for (size_t i = 0; i < manifest.manifest.layers.size(); ++i) {
        const auto& layer = manifest.manifest.layers[i];
        const uint64_t size = layer.size_bytes;
        bytes_total_ += size;
        missing_bytes += size - std::min(size, options_.store.blobs().PresentBytes(layer.digest));
        if (depth_ == Depth::kBlobs) continue;
        if (known && options_.store.snapshots().FindLayer(known->layers[i].chain).ok()) continue;
        ++layers_missing;
        unpacked_bytes += size;
      }
    }
    TRY_STATUS(options_.collector.CheckRoom(missing_bytes + unpacked_bytes, stop_));
    return PreheatResult{.digest = image_.target.digest,
                         .depth = depth_,
                         .bytes_total = bytes_total_,
                         .bytes_missing = missing_bytes,
                         .layers_missing = layers_missing};
  }

  struct Layer {
    Digest digest;
    Digest chain;
    uint64_t size_bytes = 0;
    uint64_t had_bytes = 0;
    p2p::BlobSources::Totals given_before;
    bool marked = false;
    std::shared_ptr<p2p::Fetch> fetch;
    std::shared_ptr<LayerBuild> build;  // null at depth `blobs`
  };

  // For whoever asks which step took its time.
  void Done(std::string_view step, std::string_view detail = "") const {
    LOG_DEBUG("preheat", {{"reference", request_.reference},
                          {"depth", DepthName(depth_)},
                          {"step", step},
                          {"detail", detail},
                          {"after", FormatDuration(options_.clock.SteadyNow() - started_)},
                          {"bytes_to_fetch", bytes_fetched_},
                          {"bytes_total", bytes_total_}});
  }

  // What was written to or removed by somebody else is fetched anew. The documents were looked at
  // when they were resolved.
  Status DropDamaged() {
    for (const auto& manifest : image_.manifests) {
      TRY_STATUS(
          DropIfDamaged(options_.store.blobs(), manifest.manifest.config.digest, stop_).status());
      for (const auto& layer : manifest.manifest.layers) {
        TRY_STATUS(DropIfDamaged(options_.store.blobs(), layer.digest, stop_).status());
      }
    }
    return OkStatus();
  }

  bool Has(const Digest& digest) const { return options_.store.blobs().Info(digest).ok(); }

  void CountDocuments() {
    const auto count = [&](const Digest& digest, uint64_t size) {
      bytes_total_ += size;
      if (Has(digest)) return;
      bytes_fetched_ += size;
      did_something_ = true;
    };
    count(image_.target.digest, image_.target.size_bytes);
    for (const auto& manifest : image_.manifests) {
      if (manifest.descriptor.digest != image_.target.digest) {
        count(manifest.descriptor.digest, manifest.bytes.size());
      }
      count(manifest.manifest.config.digest, manifest.manifest.config.size_bytes);
    }
  }

  Status KeepDocuments() {
    TRY_STATUS(options_.resolver.Keep(image_.target.digest, image_.target_bytes, stop_));
    for (const auto& manifest : image_.manifests) {
      TRY_STATUS(options_.resolver.Keep(manifest.descriptor.digest, manifest.bytes, stop_));
    }
    return OkStatus();
  }

  Status FetchConfigs() {
    for (const auto& manifest : image_.manifests) {
      const auto& config = manifest.manifest.config;
      const auto fetch = TRY(options_.swarm.Fetch(
          {.digest = config.digest, .size_bytes = config.size_bytes, .origins = {image_.origin}}));
      TRY_STATUS(fetch->WaitComplete(stop_).Annotate("config " + config.digest.ToString()));
      const auto bytes = TRY(options_.resolver.Read(config.digest, oci::kMaxConfigBytes));
      images_.push_back(TRY(JoinLayers(manifest.descriptor.digest, manifest.manifest, bytes)));
      TRY_STATUS(options_.chains.Remember(images_.back(), image_.origin));
    }
    return OkStatus();
  }

  // For what is missing: at least the blobs, and for each layer as much as its blob.
  Status MakeRoom() {
    uint64_t missing_bytes = 0;
    for (const auto& image : images_) {
      for (const ImageLayer& layer : image.layers) {
        const uint64_t size = layer.blob.size_bytes;
        missing_bytes +=
            size - std::min(size, options_.store.blobs().PresentBytes(layer.blob.digest));
        if (depth_ == Depth::kBlobs) continue;
        if (!options_.store.snapshots().FindLayer(layer.chain).ok()) missing_bytes += size;
      }
    }
    return missing_bytes == 0 ? OkStatus() : options_.collector.MakeRoom(missing_bytes, stop_);
  }

  // Asks for all layers of all platforms at once; who comes first is the swarm's and the builder's.
  Status Begin() {
    for (const auto& image : images_) {
      for (size_t i = 0; i < image.layers.size(); ++i) {
        const ImageLayer& wanted = image.layers[i];
        Layer layer;
        layer.digest = wanted.blob.digest;
        layer.chain = wanted.chain;
        layer.size_bytes = wanted.blob.size_bytes;
        const bool have_blob = Has(layer.digest);
        layer.fetch = TRY(options_.swarm.Fetch(
            {.digest = layer.digest, .size_bytes = layer.size_bytes, .origins = {image_.origin}}));
        layer.given_before = options_.swarm.sources().TotalsOf(layer.digest);
        layer.had_bytes = have_blob ? layer.size_bytes : layer.fetch->blob()->PresentBytes();
        if (depth_ != Depth::kBlobs) {
          did_something_ =
              did_something_ || !options_.store.snapshots().FindLayer(wanted.chain).ok();
          layer.build = TRY(options_.builder.Build({.chain = wanted.chain,
                                                    .parent_chain = image.ParentChain(i),
                                                    .diff_id = wanted.diff_id,
                                                    .blob = wanted.blob,
                                                    .origins = {image_.origin}}));
        }
        LOG_DEBUG("preheat layer", {{"reference", request_.reference},
                                    {"blob", layer.digest.ToString()},
                                    {"chain", wanted.chain.ToString()},
                                    {"size_bytes", layer.size_bytes},
                                    {"had_bytes", layer.had_bytes}});
        bytes_total_ += layer.size_bytes;
        if (!have_blob) {
          did_something_ = true;
          bytes_fetched_ += layer.size_bytes - layer.had_bytes;
        }
        layers_.push_back(std::move(layer));
      }
    }
    return OkStatus();
  }

  Status WaitForLayers() {
    for (const Layer& layer : layers_) {
      TRY_STATUS(WaitReporting([&](Deadline tick) {
                   return layer.fetch->WaitComplete(stop_, tick);
                 }).Annotate("blob " + layer.digest.ToString()));
      if (layer.build) {
        TRY_STATUS(WaitReporting([&](Deadline tick) { return layer.build->Wait(stop_, tick); }));
      }
      Done(layer.build ? "layer unpacked" : "blob fetched", layer.digest.ToString());
    }
    return OkStatus();
  }

  // Calls `wait` until it says something else than that its tick passed; reports at each tick and
  // ends early when any layer failed.
  template <typename Wait>
  Status WaitReporting(const Wait& wait) {
    while (true) {
      const Status status = wait(Deadline::After(options_.progress_interval));
      if (status.code() != StatusCode::kDeadlineExceeded) return status;
      Report();
      for (Layer& layer : layers_) {
        TRY_STATUS(MarkFinished(layer));
        if (layer.build && layer.build->phase() == BuildPhase::kFailed) {
          return layer.build->status();
        }
      }
    }
  }

  // What came of the layers since the preheat began.
  p2p::BlobSources::Totals Given() const {
    p2p::BlobSources::Totals all;
    for (const Layer& layer : layers_) {
      const auto now = options_.swarm.sources().TotalsOf(layer.digest);
      const auto& before = layer.given_before;
      all.peer_bytes += now.peer_bytes - std::min(now.peer_bytes, before.peer_bytes);
      all.origin_bytes += now.origin_bytes - std::min(now.origin_bytes, before.origin_bytes);
    }
    return all;
  }

  void Report() const {
    if (!report_) return;
    PreheatProgress progress;
    progress.digest = image_.target.digest;
    progress.bytes_total = bytes_total_;
    const auto given = Given();
    progress.peer_bytes = given.peer_bytes;
    progress.origin_bytes = given.origin_bytes;
    uint64_t layer_bytes = 0;
    for (const Layer& layer : layers_) {
      LayerProgress one;
      one.digest = layer.digest;
      one.size_bytes = layer.size_bytes;
      const auto& blob = *layer.fetch->blob();
      const bool complete = blob.state() == store::Blob::State::kComplete;
      one.fetched_bytes = complete ? layer.size_bytes : blob.PresentBytes();
      if (layer.build) {
        one.phase = layer.build->phase();
      } else {
        one.phase = complete ? BuildPhase::kDone : BuildPhase::kWaiting;
      }
      layer_bytes += layer.size_bytes;
      progress.bytes_done += one.fetched_bytes;
      progress.layers.push_back(one);
    }
    progress.bytes_done += bytes_total_ - layer_bytes;  // the documents are here by now
    report_(progress);
  }

  // All that a pull needs, each blob once, looked at in the store now.
  Result<std::vector<PreheatCopy>> Copies() const {
    std::map<Digest, PreheatCopy> copies;
    const auto add = [&](const Digest& digest, bool is_manifest) -> Status {
      const auto info = TRY(options_.store.blobs().Info(digest));
      copies[digest] = {digest, info.size_bytes, is_manifest};
      return OkStatus();
    };
    TRY_STATUS(add(image_.target.digest, true));
    for (const auto& image : images_) {
      TRY_STATUS(add(image.manifest, true));
      TRY_STATUS(add(image.config.digest, false));
    }
    for (const Layer& layer : layers_) TRY_STATUS(add(layer.digest, false));
    std::vector<PreheatCopy> list;
    for (const auto& [digest, copy] : copies) list.push_back(copy);
    return list;
  }

  std::optional<WallTime> Until() const {
    return request_.pin ? std::optional(options_.clock.WallNow() + *request_.pin) : std::nullopt;
  }

  Status MarkDocuments() {
    auto& blobs = options_.store.blobs();
    TRY_STATUS(blobs.Preheat(image_.target.digest, Until()));
    for (const auto& image : images_) {
      TRY_STATUS(blobs.Preheat(image.manifest, Until()));
      TRY_STATUS(blobs.Preheat(image.config.digest, Until()));
    }
    return OkStatus();
  }

  Status Mark(Layer& layer) {
    TRY_STATUS(options_.store.blobs().Preheat(layer.digest, Until()));
    if (layer.build) TRY_STATUS(options_.store.snapshots().PreheatLayer(layer.chain, Until()));
    layer.marked = true;
    return OkStatus();
  }

  // So that nothing of a long preheat counts as unwanted before its end.
  Status MarkFinished(Layer& layer) {
    const bool blob_done = layer.fetch->blob()->state() == store::Blob::State::kComplete;
    const bool done = blob_done && (!layer.build || layer.build->phase() == BuildPhase::kDone);
    return done && !layer.marked ? Mark(layer) : OkStatus();
  }

  const Options& options_;
  const PreheatRequest& request_;
  Depth depth_;  // as asked for, or less
  const std::function<void(const PreheatProgress&)>& report_;
  const std::stop_token stop_;
  ResolvedImage image_;
  std::vector<ImageLayers> images_;
  std::vector<Layer> layers_;
  const SteadyTime started_ = options_.clock.SteadyNow();
  bool did_something_ = false;
  uint64_t bytes_fetched_ = 0;
  uint64_t bytes_total_ = 0;
};

Result<PreheatResult> Preheater::Run(const PreheatRequest& request,
                                     const std::function<void(const PreheatProgress&)>& progress,
                                     std::stop_token stop) {
  return Work(options_, request, progress, std::move(stop))
      .Run()
      .Annotate("preheat " + request.reference);
}

}  // namespace hearth::plugin
