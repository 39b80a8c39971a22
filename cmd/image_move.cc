#include "cmd/image_move.h"

#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/units.h"
#include "cmd/subprocess.h"
#include "plugin/installer.h"
#include "plugin/toml_edit.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kDumpLimit{30};
constexpr std::chrono::seconds kRestartLimit{300};
constexpr std::chrono::seconds kLoadLimit{60};  // until a restarted containerd has its plugins
constexpr std::chrono::milliseconds kAskAgain{200};
constexpr const char* kDefaultContainerdRoot = "/var/lib/containerd";

}  // namespace

Result<std::string> DumpContainerdConfig() {
  const auto dump = TRY(RunProgram(
      {"containerd", "--config", plugin::kContainerdConfigFile, "config", "dump"}, kDumpLimit));
  if (dump.exit_code == 0) return dump.out;
  return FailedPrecondition("containerd cannot read its configuration: " + dump.err);
}

Result<std::string> BuiltInContentRoot(const std::string& dump) {
  const auto root = TRY(plugin::TomlText(dump, {"root"}));
  return (root && !root->empty() ? *root : kDefaultContainerdRoot) + kContentDirectory;
}

namespace {

Result<bool> PluginLoaded(const Ctr& ctr, const std::string& type, const std::string& id) {
  for (const ContainerdPlugin& plugin : TRY(ctr.Plugins())) {
    if (plugin.type == type && plugin.id == id) return true;
  }
  return false;
}

}  // namespace

Result<bool> SnapshotterLoaded(const Ctr& ctr) {
  return PluginLoaded(ctr, "io.containerd.snapshotter.v1", "hearth");
}

Result<bool> ContentLoaded(const Ctr& ctr) {
  return PluginLoaded(ctr, "io.containerd.content.v1", "hearth-content");
}

Status RestartContainerd(const std::string& command, const Ctr& ctr, bool with_ours,
                         const Interrupt& interrupt) {
  const auto result = TRY(RunProgram({"/bin/sh", "-c", command}, kRestartLimit));
  if (result.exit_code != 0) {
    return FailedPrecondition("\"" + command + "\" ended with " + std::to_string(result.exit_code) +
                              ": " + result.err + " (restart containerd by hand, then run this " +
                              "command again)");
  }
  const auto until = std::chrono::steady_clock::now() + kLoadLimit;
  while (true) {
    const auto loaded = with_ours ? ContentLoaded(ctr) : SnapshotterLoaded(ctr);
    if (loaded.ok() && *loaded == with_ours) return OkStatus();
    if (interrupt.happened()) return Cancelled("waiting for containerd");
    if (std::chrono::steady_clock::now() >= until) {
      const std::string what = !loaded.ok() ? loaded.status().message()
                               : with_ours  ? "it has no content store hearth-content"
                                            : "it still has the snapshotter hearth";
      return Unavailable("containerd " + std::to_string(kLoadLimit.count()) +
                         " s after its restart: " + what +
                         " (see its log, then run this command again)");
    }
    std::this_thread::sleep_for(kAskAgain);
  }
}

struct ImageMove::Sums {
  std::map<std::pair<std::string, std::string>, json> images;  // by namespace and name
  uint64_t blobs = 0;
  uint64_t bytes = 0;
  // Of the blobs: how they came to their second place.
  uint64_t reflinked = 0;
  uint64_t linked = 0;
  uint64_t copied = 0;
  std::optional<Room> room;
};

ImageMove::ImageMove(AdminClient& node, std::string path, bool say, const Interrupt& interrupt)
    : node_(node),
      path_(std::move(path)),
      say_(say),
      interrupt_(interrupt),
      sums_(std::make_unique<Sums>()) {}

ImageMove::~ImageMove() = default;

void ImageMove::Say(const std::string& line) const {
  if (say_) std::cout << line << std::endl;
}

Status ImageMove::Run(const std::string& body, bool tell_blobs) {
  sums_->images.clear();
  bool done = false;
  TRY_STATUS(node_.Stream(
      path_, body, [&](std::string_view line) { return Take(line, tell_blobs, done); },
      interrupt_.token()));
  if (!done) return Aborted("the node ended its answer early (see its log)");
  return OkStatus();
}

Status ImageMove::Take(std::string_view line, bool tell_blobs, bool& done) {
  const json event = json::parse(line, nullptr, false);
  if (!event.is_object()) return Internal("not an event: " + std::string(line));
  const std::string kind = event.value("event", "");
  if (kind == "failed") return FailedPrecondition(event.value("message", ""));
  if (kind == "image") {
    const std::string ns = event.value("namespace", "");
    const std::string name = event.value("name", "");
    const std::string reason = event.value("reason", "");
    Say(ns + " " + name + ": " + event.value("state", "") + (reason.empty() ? "" : ": " + reason));
    sums_->images[{ns, name}] = event;
  }
  if (kind == "blob" && tell_blobs) {
    Say(event.value("digest", "") + " " + FormatByteSize(event.value("size_bytes", uint64_t{0})));
  }
  if (kind == "room" && !sums_->room) {
    sums_->room =
        Room{event.value("needed_bytes", uint64_t{0}), event.value("free_bytes", uint64_t{0})};
  }
  if (kind == "done") {
    done = true;
    sums_->blobs += event.value("blobs", uint64_t{0});
    sums_->bytes += event.value("bytes", uint64_t{0});
    sums_->reflinked += event.value("reflinked", uint64_t{0});
    sums_->linked += event.value("linked", uint64_t{0});
    sums_->copied += event.value("copied", uint64_t{0});
  }
  return OkStatus();
}

uint64_t ImageMove::blobs() const { return sums_->blobs; }

std::optional<ImageMove::Room> ImageMove::room() const { return sums_->room; }

std::string ImageMove::BlobsLine() const {
  std::string ways;
  for (const auto& [count, way] :
       {std::pair{sums_->reflinked, "reflinked"}, std::pair{sums_->linked, "hard-linked"},
        std::pair{sums_->copied, "copied"}}) {
    if (count == 0) continue;
    ways += (ways.empty() ? " (" : ", ") + std::to_string(count) + " " + way;
  }
  return std::to_string(sums_->blobs) + " blobs, " + FormatByteSize(sums_->bytes) + ways +
         (ways.empty() ? "" : ")");
}

size_t ImageMove::images() const { return sums_->images.size(); }
size_t ImageMove::failed() const { return Failures().size(); }

std::vector<std::string> ImageMove::Failures() const {
  std::vector<std::string> failures;
  for (const auto& [name, event] : sums_->images) {
    if (event.value("state", "") != "failed") continue;
    failures.push_back(name.first + " " + name.second + ": " + event.value("reason", ""));
  }
  return failures;
}

std::string ImageMove::Report() const {
  json images = json::array();
  for (const auto& [name, event] : sums_->images) images.push_back(event);
  const json report = {{"blobs", sums_->blobs},   {"bytes", sums_->bytes},
                       {"linked", sums_->linked}, {"reflinked", sums_->reflinked},
                       {"copied", sums_->copied}, {"images", images},
                       {"failed", failed()}};
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace hearth::cmd
