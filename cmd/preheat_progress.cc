#include "cmd/preheat_progress.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr size_t kBarCells = 24;
constexpr size_t kLayerTextColumns = 58;  // of a layer's line without its bar
constexpr size_t kDigestDigits = 12;
constexpr double kMaxEtaSeconds = 1e7;

std::string Text(const json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_string() ? found->get<std::string>() : "";
}

double Number(const json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_number() ? found->get<double>() : 0;
}

uint64_t Bytes(const json& event, const char* key) {
  return static_cast<uint64_t>(std::max(0.0, Number(event, key)));
}

std::string Pad(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string_view StateName(ImageProgress::State state) {
  switch (state) {
    case ImageProgress::State::kWaiting:
      return "waiting";
    case ImageProgress::State::kRunning:
      return "running";
    case ImageProgress::State::kDone:
      return "done";
    case ImageProgress::State::kFailed:
      return "failed";
  }
  return "";
}

std::string Percent(uint64_t done, uint64_t total) {
  if (total == 0) return "0%";
  return std::to_string(std::min<uint64_t>(100, done * 100 / total)) + "%";
}

std::string HeadLine(const ImageProgress& image) {
  switch (image.state) {
    case ImageProgress::State::kWaiting:
      return image.reference + "  waiting";
    case ImageProgress::State::kDone:
      return image.reference + "  " + (image.already_warm ? "already warm" : "done");
    case ImageProgress::State::kFailed:
      return image.reference + "  failed";
    case ImageProgress::State::kRunning:
      break;
  }
  return image.reference + "  " + Percent(image.bytes_done, image.bytes_total) + "  " +
         FormatByteSize(image.bytes_done) + " / " + FormatByteSize(image.bytes_total) + "  " +
         FormatRate(image.bytes_per_second) + "  eta " + FormatEta(image.eta_seconds) +
         (image.peer_bytes > 0 ? "  nodes " + FormatRate(image.peer_bytes_per_second) +
                                     ", registry " + FormatRate(image.origin_bytes_per_second)
                               : "");
}

std::string LayerLine(const LayerProgress& layer, size_t width) {
  std::string line =
      "  " + Pad(ShortDigest(layer.digest), kDigestDigits) + "  " + Pad(layer.state, 9) + "  ";
  if (width > kLayerTextColumns + 4) {
    const size_t cells = std::min(kBarCells, width - kLayerTextColumns - 2);
    line += Bar(layer.fetched_bytes, layer.size_bytes, cells) + "  ";
  }
  return line + FormatByteSize(layer.fetched_bytes) + " / " + FormatByteSize(layer.size_bytes);
}

// Layers at work come first where not all have room.
std::vector<const LayerProgress*> ByInterest(const std::vector<LayerProgress>& layers,
                                             size_t room) {
  std::vector<const LayerProgress*> chosen;
  for (const LayerProgress& layer : layers) chosen.push_back(&layer);
  if (chosen.size() <= room) return chosen;
  const auto rank = [](const LayerProgress* layer) {
    if (layer->state == "fetching" || layer->state == "unpacking") return 0;
    if (layer->state == "failed") return 1;
    return layer->state == "waiting" ? 2 : 3;
  };
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&rank](const auto* a, const auto* b) { return rank(a) < rank(b); });
  chosen.resize(room);
  return chosen;
}

void TakeLayers(const json& event, ImageProgress& image) {
  const auto found = event.find("layers");
  if (found == event.end() || !found->is_array()) return;
  image.layers.clear();
  for (const json& layer : *found) {
    image.layers.push_back({Text(layer, "digest"), Bytes(layer, "size_bytes"),
                            Bytes(layer, "fetched_bytes"), Text(layer, "state")});
  }
}

void TakeSources(const json& event, ImageProgress& image) {
  image.peer_bytes = Bytes(event, "peer_bytes");
  image.origin_bytes = Bytes(event, "origin_bytes");
  image.peer_bytes_per_second = Number(event, "peer_bytes_per_second");
  image.origin_bytes_per_second = Number(event, "origin_bytes_per_second");
}

std::string DoneLine(const ImageProgress& image) {
  const auto took = std::chrono::nanoseconds(static_cast<int64_t>(image.seconds * 1e9));
  if (image.already_warm) {
    return image.reference + ": already warm (" + image.depth + ", " + image.digest + "), " +
           FormatDuration(took);
  }
  const std::string nodes =
      image.peer_bytes > 0 ? " (" + FormatByteSize(image.peer_bytes) + " from other nodes)" : "";
  return image.reference + ": done (" + image.depth + ", " + image.digest + "), " +
         FormatByteSize(image.bytes_fetched) + " of " + FormatByteSize(image.bytes_total) +
         " fetched" + nodes + ", " + FormatDuration(took);
}

}  // namespace

std::string Bar(uint64_t done, uint64_t total, size_t width) {
  const double share =
      total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto full = static_cast<size_t>(share * static_cast<double>(width));
  return "[" + std::string(full, '#') + std::string(width - full, '-') + "]";
}

std::string FormatRate(double bytes_per_second) {
  return FormatByteSize(static_cast<uint64_t>(std::max(0.0, bytes_per_second))) + "/s";
}

std::string FormatEta(std::optional<double> seconds) {
  if (!seconds || !std::isfinite(*seconds) || *seconds < 0 || *seconds > kMaxEtaSeconds) return "?";
  const auto whole = static_cast<uint64_t>(std::ceil(*seconds));
  if (whole < 60) return std::to_string(whole) + "s";
  const std::string rest = std::to_string(whole % 60);
  return std::to_string(whole / 60) + "m" + (rest.size() < 2 ? "0" : "") + rest + "s";
}

std::string ShortDigest(std::string_view digest) {
  const size_t colon = digest.find(':');
  if (colon != std::string_view::npos) digest.remove_prefix(colon + 1);
  return std::string(digest.substr(0, kDigestDigits));
}

PreheatProgress::PreheatProgress(const std::vector<std::string>& references) {
  for (const std::string& reference : references) {
    images_.emplace_back().reference = reference;
  }
}

ImageProgress& PreheatProgress::Find(const std::string& reference) {
  for (ImageProgress& image : images_) {
    if (image.reference == reference) return image;
  }
  images_.emplace_back().reference = reference;
  return images_.back();
}

Result<std::string> PreheatProgress::Take(std::string_view line) {
  const json event = json::parse(line, nullptr, false);
  if (!event.is_object()) return InvalidArgument("not an event: " + std::string(line));
  const std::string kind = Text(event, "event");
  ImageProgress& image = Find(Text(event, "reference"));
  if (kind == "resolved") {
    image.state = ImageProgress::State::kRunning;
    image.digest = Text(event, "digest");
    image.platform = Text(event, "platform");
    image.bytes_total = Bytes(event, "bytes_total");
    return image.reference + ": " + image.digest + " for " + image.platform + ", " +
           std::to_string(Bytes(event, "layers")) + " layers, " + FormatByteSize(image.bytes_total);
  }
  if (kind == "progress") {
    image.state = ImageProgress::State::kRunning;
    image.bytes_done = Bytes(event, "bytes_done");
    image.bytes_total = Bytes(event, "bytes_total");
    image.bytes_per_second = Number(event, "bytes_per_second");
    TakeSources(event, image);
    image.eta_seconds.reset();
    if (event.contains("eta_seconds") && event["eta_seconds"].is_number()) {
      image.eta_seconds = Number(event, "eta_seconds");
    }
    TakeLayers(event, image);
    return HeadLine(image);
  }
  if (kind == "layer") {
    const std::string digest = Text(event, "digest");
    for (LayerProgress& layer : image.layers) {
      if (layer.digest == digest) layer.state = Text(event, "state");
    }
    return image.reference + ": layer " + digest + " " + Text(event, "state");
  }
  if (kind == "done") {
    image.state = ImageProgress::State::kDone;
    image.digest = Text(event, "digest");
    image.depth = Text(event, "depth");
    image.already_warm = event.value("already_warm", false);
    image.bytes_fetched = Bytes(event, "bytes_fetched");
    TakeSources(event, image);
    image.bytes_total = Bytes(event, "bytes_total");
    image.bytes_done = image.bytes_total;
    image.seconds = Number(event, "seconds");
    return DoneLine(image);
  }
  if (kind == "failed") {
    image.state = ImageProgress::State::kFailed;
    image.code = Text(event, "code");
    image.message = Text(event, "message");
    return image.reference + ": failed: " + image.message;
  }
  return std::string();  // an event of a newer node
}

size_t PreheatProgress::Count(ImageProgress::State state) const {
  return static_cast<size_t>(
      std::count_if(images_.begin(), images_.end(),
                    [state](const ImageProgress& image) { return image.state == state; }));
}

std::vector<std::string> PreheatProgress::Lines(size_t width, size_t height) const {
  std::vector<std::string> lines;
  for (size_t i = 0; i < images_.size() && lines.size() < height; ++i) {
    const ImageProgress& image = images_[i];
    lines.push_back(HeadLine(image));
    if (image.state != ImageProgress::State::kRunning) continue;
    const size_t heads_after = images_.size() - i - 1;
    const size_t used = lines.size() + heads_after;
    size_t room = height > used ? height - used : 0;
    if (image.layers.size() > room && room > 0) --room;  // for the line that says how many more
    const auto chosen = ByInterest(image.layers, room);
    for (const LayerProgress* layer : chosen) lines.push_back(LayerLine(*layer, width));
    const size_t hidden = image.layers.size() - chosen.size();
    if (hidden > 0 && lines.size() + heads_after < height) {
      lines.push_back("  and " + std::to_string(hidden) + " more layers");
    }
  }
  for (std::string& line : lines) {
    if (line.size() > width) line.resize(width);
  }
  return lines;
}

std::string PreheatProgress::Summary() const {
  uint64_t done = 0;
  uint64_t total = 0;
  for (const ImageProgress& image : images_) {
    done += image.bytes_done;
    total += image.bytes_total;
  }
  return std::to_string(Count(ImageProgress::State::kDone)) + " of " +
         std::to_string(images_.size()) + " done, " + FormatByteSize(done) + " of " +
         FormatByteSize(total) + " present";
}

std::string PreheatProgress::Json(bool interrupted) const {
  json list = json::array();
  for (const ImageProgress& image : images_) {
    json entry = {{"reference", image.reference},
                  {"state", StateName(image.state)},
                  {"digest", image.digest},
                  {"platform", image.platform},
                  {"depth", image.depth},
                  {"already_warm", image.already_warm},
                  {"bytes_fetched", image.bytes_fetched},
                  {"peer_bytes", image.peer_bytes},
                  {"origin_bytes", image.origin_bytes},
                  {"bytes_done", image.bytes_done},
                  {"bytes_total", image.bytes_total},
                  {"seconds", image.seconds}};
    if (image.state == ImageProgress::State::kFailed) {
      entry["code"] = image.code;
      entry["message"] = image.message;
    }
    list.push_back(std::move(entry));
  }
  const size_t done = Count(ImageProgress::State::kDone);
  const char* state = interrupted              ? "interrupted"
                      : done == images_.size() ? "done"
                      : done > 0               ? "partly"
                                               : "failed";
  return json{{"state", state}, {"images", std::move(list)}}.dump(2, ' ', false,
                                                                  json::error_handler_t::replace);
}

}  // namespace hearth::cmd
