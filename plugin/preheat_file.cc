#include "plugin/preheat_file.h"

#include <algorithm>
#include <utility>

#include "plugin/blob_check.h"

namespace hearth::plugin {

Result<PreheatResult> FilePreheater::Run(
    FileRequest request, std::optional<std::chrono::seconds> pin,
    const std::function<void(const PreheatProgress&)>& progress, std::stop_token stop) {
  request.make_room = [&](uint64_t size_bytes) {
    return options_.collector.MakeRoom(size_bytes, stop);
  };
  std::optional<uint64_t> before;  // present at the first look
  const auto tell = [&](const FileProgress& now) {
    PreheatProgress shown;
    if (!before) before = now.present_bytes;
    // Files are no neighbour's to give.
    shown.origin_bytes = now.present_bytes - std::min(*before, now.present_bytes);
    shown.bytes_done = now.present_bytes;
    shown.bytes_total = std::max(now.total_bytes.value_or(0), now.present_bytes);
    progress(shown);
  };
  auto got = TRY(options_.files.Get(request, tell, stop));
  // What was here before may have been changed behind our back; what came just now was hashed.
  if (got.received_bytes == 0 && TRY(DropIfDamaged(options_.store.blobs(), got.digest, stop))) {
    got = TRY(options_.files.Get(request, tell, stop));
  }
  std::optional<WallTime> until;
  if (pin) until = options_.clock.WallNow() + *pin;
  TRY_STATUS(options_.store.blobs().Preheat(got.digest, until));
  return PreheatResult{
      .digest = got.digest,
      .depth = Depth::kBlobs,
      .already_warm = got.received_bytes == 0,
      .bytes_fetched = got.received_bytes,
      .bytes_total = got.size_bytes,
      .peer_bytes = 0,
      .origin_bytes = got.received_bytes,
      .copies = {{.digest = got.digest, .size_bytes = got.size_bytes, .is_manifest = false}}};
}

}  // namespace hearth::plugin
