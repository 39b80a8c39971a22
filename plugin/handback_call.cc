#include "plugin/handback_call.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::plugin {

namespace {

using nlohmann::json;
using State = ImageGiven::State;

// Turns of giving while images are still being pulled.
constexpr int kMaxTurns = 8;

class Call {
 public:
  Call(Handback& handback, Handback::Target target,
       const std::function<void(std::string, bool)>& write, std::stop_token stop)
      : handback_(handback), target_(std::move(target)), write_(write), stop_(std::move(stop)) {}

  Status Plan() {
    const auto images = TRY(handback_.Survey(target_, stop_));
    const auto blobs = TRY(handback_.Missing(target_, stop_));
    for (const BlobGiven& blob : blobs) Tell(blob, /*given=*/false);
    for (const ImageGiven& image : images) Tell(image);
    TRY_STATUS(handback_.CheckSpace(target_, images, blobs));
    return Done();
  }

  Status Copy() {
    if (!TRY(handback_.Loaded())) {
      return FailedPrecondition("containerd runs without snapshotter hearth: nothing is ours");
    }
    for (int turn = 0; turn < kMaxTurns; ++turn) {
      const size_t before = blobs_ + unpacked_;
      auto images = TRY(handback_.Survey(target_, stop_));
      TRY_STATUS(handback_.CheckSpace(target_, images, TRY(handback_.Missing(target_, stop_))));
      for (ImageGiven& image : images) TRY_STATUS(UnpackOne(image));
      TRY_STATUS(GiveBlobs());
      if (turn > 0 && blobs_ + unpacked_ == before) break;
    }
    return Done();
  }

  Status Finish() {
    if (TRY(handback_.Loaded())) {
      return FailedPrecondition(
          "containerd still runs with snapshotter hearth (restart it, then run: hearth uninstall)");
    }
    // After `copy` next to nothing; where there was none, all that adopt left in our store alone.
    TRY_STATUS(handback_.CheckSpace(target_, {}, TRY(handback_.Missing(target_, stop_))));
    TRY_STATUS(GiveBlobs());
    auto images = TRY(handback_.Survey(target_, stop_));
    for (const ImageGiven& image : images) Tell(image);
    TRY_STATUS(handback_.Release(images, blobs_ > 0));
    return Done();
  }

 private:
  Status UnpackOne(ImageGiven& image) {
    if (image.state == State::kToUnpack) {
      TRY_STATUS(handback_.Unpack(image, stop_));
      if (image.state == State::kUnpacked) ++unpacked_;
    } else if (image.state == State::kLeft && image.lacks_layers) {
      // What we pulled in containerd's place it hears of only afterwards, or never.
      TRY_STATUS(handback_.GiveLayers(image, stop_));
    }
    Tell(image);
    return OkStatus();
  }

  Status GiveBlobs() {
    return handback_.GiveBlobs(
        target_, [this](const BlobGiven& blob) { Tell(blob, /*given=*/true); }, stop_);
  }

  void Tell(const BlobGiven& blob, bool given) {
    ++blobs_;
    if (given) by_.Add(blob.how);
    bytes_ += blob.size_bytes;
    Write({{"event", "blob"},
           {"digest", blob.digest.ToString()},
           {"size_bytes", blob.size_bytes},
           {"how", given ? NameOf(blob.how) : "missing"}});
  }

  // Once, and again when its state is another.
  void Tell(const ImageGiven& image) {
    const auto key = std::make_pair(image.containerd_namespace, image.image.name);
    const auto [at, is_new] = states_.emplace(key, image.state);
    if (!is_new && at->second == image.state) return;
    at->second = image.state;
    size_t layers = 0;
    for (const auto& manifest : image.manifests) layers += manifest.layers.size();
    Write({{"event", "image"},
           {"namespace", image.containerd_namespace},
           {"name", image.image.name},
           {"layers", layers},
           {"state", NameOf(image.state)},
           {"unpack_bytes", image.unpack_bytes},
           {"reason", image.reason}});
  }

  Status Done() {
    size_t failed = 0;
    for (const auto& [key, state] : states_) failed += state == State::kFailed ? 1 : 0;
    Write({{"event", "done"},
           {"blobs", blobs_},
           {"bytes", bytes_},
           {"reflinked", by_.Of(SharedBy::kReflink)},
           {"linked", by_.Of(SharedBy::kLink)},
           {"copied", by_.Of(SharedBy::kCopy)},
           {"images", states_.size()},
           {"failed", failed}});
    return OkStatus();
  }

  void Write(const json& event) {
    write_(event.dump(-1, ' ', false, json::error_handler_t::replace), event["event"] == "blob");
  }

  Handback& handback_;
  const Handback::Target target_;
  const std::function<void(std::string, bool)>& write_;
  const std::stop_token stop_;
  size_t blobs_ = 0;  // given
  uint64_t bytes_ = 0;
  SharedCounts by_;
  size_t unpacked_ = 0;
  std::map<std::pair<std::string, std::string>, State> states_;
};

}  // namespace

Status RunHandback(Handback& handback, std::string_view body,
                   const std::function<void(std::string, bool)>& write, std::stop_token stop) {
  const json request = json::parse(body, nullptr, false);
  const auto text = [&request](const char* key) {
    return request.is_object() && request.contains(key) && request[key].is_string();
  };
  if (!text("content_root") || !text("phase")) {
    return InvalidArgument("request body: needs \"content_root\" and \"phase\", both texts");
  }
  Handback::Target target;
  target.content_root = request["content_root"].get<std::string>();
  if (!target.content_root.is_absolute()) {
    return InvalidArgument("content_root: not an absolute path");
  }
  for (const auto& [key, value] :
       {std::pair{"content", &target.content}, std::pair{"unpack", &target.unpack}}) {
    if (!request.contains(key)) continue;
    if (!request[key].is_boolean()) return InvalidArgument(std::string(key) + ": not a boolean");
    *value = request[key].get<bool>();
  }
  const std::string phase = request["phase"].get<std::string>();
  Call call(handback, std::move(target), write, std::move(stop));
  if (phase == "plan") return call.Plan();
  if (phase == "copy") return call.Copy();
  if (phase == "finish") return call.Finish();
  return InvalidArgument("phase \"" + phase + "\" is none of plan, copy, finish");
}

}  // namespace hearth::plugin
