#include "plugin/takeover_call.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::plugin {

namespace {

using nlohmann::json;

// Turns of copying while images are still being pulled; the last turn comes after the switch.
constexpr int kMaxTurns = 8;

struct Count {
  size_t blobs = 0;  // taken
  uint64_t bytes = 0;
  SharedCounts by;
  size_t dropped = 0;  // of the built-in store's own
  size_t images = 0;
  size_t failed = 0;
};

class Call {
 public:
  Call(Takeover& takeover, const std::function<void(std::string, bool)>& write,
       std::stop_token stop)
      : takeover_(takeover), write_(write), stop_(std::move(stop)) {}

  Status Plan(const std::filesystem::path& root) {
    for (const BlobTaken& blob : TRY(takeover_.Missing(root))) Tell(blob, /*taken=*/false);
    const RoomNeeded needed = TRY(takeover_.Needs(root, stop_));
    Tell(needed);
    TRY_STATUS(takeover_.CheckRoom(needed, stop_));
    return Done();
  }

  Status Copy(const std::filesystem::path& root) {
    for (int turn = 0; turn < kMaxTurns; ++turn) {
      const size_t before = count_.blobs;
      TRY_STATUS(MakeRoom(root));
      TRY_STATUS(TakeBlobs(root));
      if (turn > 0 && count_.blobs == before) break;
      count_.images = count_.failed = 0;
      // Once more: of the store's quota shared blobs have their share too.
      TRY_STATUS(MakeRoom(root));
      TRY_STATUS(
          takeover_.UnpackImages([this](const auto& image) { Tell(image, "unpacked"); }, stop_));
    }
    return Done();
  }

  Status Finish(const std::filesystem::path& root, bool tell) {
    if (!TRY(takeover_.CanRegister())) {
      return FailedPrecondition(
          "containerd has no snapshotter hearth yet (run: hearth install, then restart it)");
    }
    TRY_STATUS(TakeBlobs(root));
    const Status room = MakeRoom(root);
    // containerd runs with us by now: what is whole is registered in any case.
    if (room.code() != StatusCode::kResourceExhausted) {
      TRY_STATUS(room);
      TRY_STATUS(takeover_.UnpackImages([](const auto&) {}, stop_));
    }
    TRY_STATUS(takeover_.RegisterImages([this](const auto& image) { Tell(image, "registered"); },
                                        tell || count_.blobs > 0, stop_));
    count_.dropped = TRY(takeover_.DropBuiltInBlobs(root, stop_));
    TRY_STATUS(room);
    return Done();
  }

 private:
  Status MakeRoom(const std::filesystem::path& root) {
    const RoomNeeded needed = TRY(takeover_.Needs(root, stop_));
    if (!std::exchange(told_room_, true)) Tell(needed);
    return takeover_.MakeRoom(needed, stop_);
  }

  Status TakeBlobs(const std::filesystem::path& root) {
    return takeover_.TakeBlobs(
        root,
        [this](const BlobTaken& blob) {
          if (blob.how != SharedBy::kThere) Tell(blob, /*taken=*/true);
        },
        stop_);
  }

  void Tell(const BlobTaken& blob, bool taken) {
    ++count_.blobs;
    if (taken) count_.by.Add(blob.how);
    count_.bytes += blob.size_bytes;
    Write({{"event", "blob"},
           {"digest", blob.digest.ToString()},
           {"size_bytes", blob.size_bytes},
           {"how", taken ? NameOf(blob.how) : "missing"}});
  }

  void Tell(const RoomNeeded& needed) {
    Write({{"event", "room"},
           {"needed_bytes", needed.total_bytes()},
           {"free_bytes", needed.free_bytes}});
  }

  void Tell(const ImageTaken& image, const char* state) {
    ++count_.images;
    if (!image.status.ok()) ++count_.failed;
    Write({{"event", "image"},
           {"namespace", image.containerd_namespace},
           {"name", image.name},
           {"layers", image.layers},
           {"state", image.status.ok() ? state : "failed"},
           {"reason", image.status.ok() ? "" : image.status.message()}});
  }

  Status Done() {
    Write({{"event", "done"},
           {"blobs", count_.blobs},
           {"bytes", count_.bytes},
           {"reflinked", count_.by.Of(SharedBy::kReflink)},
           {"linked", count_.by.Of(SharedBy::kLink)},
           {"copied", count_.by.Of(SharedBy::kCopy)},
           {"dropped", count_.dropped},
           {"images", count_.images},
           {"failed", count_.failed}});
    return OkStatus();
  }

  void Write(const json& event) {
    write_(event.dump(-1, ' ', false, json::error_handler_t::replace), event["event"] == "blob");
  }

  Takeover& takeover_;
  const std::function<void(std::string, bool)>& write_;
  const std::stop_token stop_;
  Count count_;
  bool told_room_ = false;
};

}  // namespace

Status RunTakeover(Takeover& takeover, std::string_view body,
                   const std::function<void(std::string, bool)>& write, std::stop_token stop) {
  const json request = json::parse(body, nullptr, false);
  if (!request.is_object() || !request.contains("content_root") || !request.contains("phase") ||
      !request["content_root"].is_string() || !request["phase"].is_string()) {
    return InvalidArgument("request body: needs \"content_root\" and \"phase\", both texts");
  }
  const std::filesystem::path root = request["content_root"].get<std::string>();
  if (!root.is_absolute()) return InvalidArgument("content_root: not an absolute path");
  if (request.contains("tell") && !request["tell"].is_boolean()) {
    return InvalidArgument("tell: not a boolean");
  }
  const std::string phase = request["phase"].get<std::string>();
  Call call(takeover, write, std::move(stop));
  if (phase == "plan") return call.Plan(root);
  if (phase == "copy") return call.Copy(root);
  if (phase == "finish") return call.Finish(root, request.value("tell", false));
  return InvalidArgument("phase \"" + phase + "\" is none of plan, copy, finish");
}

}  // namespace hearth::plugin
