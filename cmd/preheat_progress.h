// PreheatProgress: what a preheat's event stream said so far, and how it looks as lines, on a
// terminal or as JSON. Plain state; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::cmd {

struct LayerProgress {
  std::string digest;
  uint64_t size_bytes = 0;
  uint64_t fetched_bytes = 0;
  std::string state;  // waiting, fetching, unpacking, done, failed
};

struct ImageProgress {
  enum class State : uint8_t { kWaiting, kRunning, kDone, kFailed };

  std::string reference;
  State state = State::kWaiting;
  std::string digest;
  std::string platform;
  std::string depth;
  bool already_warm = false;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t bytes_fetched = 0;
  double bytes_per_second = 0;
  uint64_t peer_bytes = 0;  // of layers: from other nodes, and from the registry
  uint64_t origin_bytes = 0;
  double peer_bytes_per_second = 0;
  double origin_bytes_per_second = 0;
  std::optional<double> eta_seconds;
  double seconds = 0;
  std::string code;  // of a failure
  std::string message;
  std::vector<LayerProgress> layers;
};

class PreheatProgress {
 public:
  explicit PreheatProgress(const std::vector<std::string>& references);

  // One line of the stream. Returns what to print for it where no terminal shows progress, "" for
  // nothing. kInvalidArgument for a line that is no event.
  Result<std::string> Take(std::string_view line);

  const std::vector<ImageProgress>& images() const { return images_; }
  size_t Count(ImageProgress::State state) const;
  // Done or failed.
  size_t Settled() const {
    return Count(ImageProgress::State::kDone) + Count(ImageProgress::State::kFailed);
  }
  // The live display: at most `height` lines of at most `width` columns.
  std::vector<std::string> Lines(size_t width, size_t height) const;
  // The document of --output json.
  std::string Json(bool interrupted) const;
  // "1 of 2 done, 12.0 MiB of 80.1 MiB fetched"
  std::string Summary() const;

 private:
  ImageProgress& Find(const std::string& reference);

  std::vector<ImageProgress> images_;
};

// "[####------]" with `width` cells inside.
std::string Bar(uint64_t done, uint64_t total, size_t width);
// "12.0 MiB/s"
std::string FormatRate(double bytes_per_second);
// "4s", "2m03s"; "?" when unknown.
std::string FormatEta(std::optional<double> seconds);
// `digest` without its algorithm, 12 digits.
std::string ShortDigest(std::string_view digest);

}  // namespace hearth::cmd
