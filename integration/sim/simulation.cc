#include "sim/simulation.h"

#include <string>

#include "sim/swarm_world.h"

namespace hearth::sim {

namespace {

Status CheckFraction(const char* name, double value) {
  if (value >= 0 && value <= 1) return OkStatus();
  return InvalidArgument(std::string(name) + " " + std::to_string(value) +
                         " is not a fraction from 0 to 1");
}

Status Check(const Options& options) {
  if (options.nodes == 0 || options.nodes > Options::kMaxNodes) {
    return InvalidArgument("nodes must be from 1 to " + std::to_string(Options::kMaxNodes));
  }
  if (options.size_bytes == 0 || options.size_bytes > Options::kMaxSizeBytes) {
    return InvalidArgument("size must be from 1 byte to 1 TiB");
  }
  // Above a byte per second and below what makes a piece take no time at all.
  for (const double link : {options.uplink, options.downlink, options.origin}) {
    if (!(link >= 1e3 && link <= 1e12)) {
      return InvalidArgument("a link must carry from 8 kbit/s to 8 Tbit/s");
    }
  }
  for (const double link : {options.rack_link, options.zone_link}) {
    if (link != 0 && !(link >= 1e3 && link <= 1e12)) {
      return InvalidArgument("a shared link must carry from 8 kbit/s to 8 Tbit/s, or 0 = no limit");
    }
  }
  if (options.racks == 0) return InvalidArgument("racks must be at least 1");
  if (options.zones == 0 || options.zones > options.racks) {
    return InvalidArgument("zones must be from 1 to the number of racks");
  }
  if (options.away.count() < 0 || options.away > std::chrono::hours(1)) {
    return InvalidArgument("a restart takes from nothing to an hour");
  }
  if (options.blobs == 0 || options.blobs > Options::kMaxBlobs) {
    return InvalidArgument("blobs must be from 1 to " + std::to_string(Options::kMaxBlobs));
  }
  if (options.min_round_trip.count() < 0 || options.max_round_trip < options.min_round_trip ||
      options.max_round_trip > std::chrono::seconds(10)) {
    return InvalidArgument("the longest round trip must be from the shortest to 10 s");
  }
  TRY_STATUS(CheckFraction("loss", options.loss));
  TRY_STATUS(CheckFraction("lying", options.lying));
  TRY_STATUS(CheckFraction("attesting wrong", options.attesting));
  TRY_STATUS(CheckFraction("lying bitmaps", options.lying_bitmaps));
  TRY_STATUS(CheckFraction("full", options.full));
  TRY_STATUS(CheckFraction("refused", options.refused));
  TRY_STATUS(CheckFraction("origin goes when", options.origin_goes_when.value_or(0)));
  TRY_STATUS(CheckFraction("slow", options.slow));
  return CheckFraction("churn", options.churn);
}

}  // namespace

Result<Report> Simulate(const Options& options) {
  TRY_STATUS(Check(options));
  return SwarmWorld(options).Run();
}

}  // namespace hearth::sim
