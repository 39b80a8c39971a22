#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/commands.h"
#include "sim/simulation.h"

namespace hearth::cmd {

namespace {

constexpr double kBytesPerMbit = 1e6 / 8;
constexpr double kMaxRoundTripMs = 10'000;

// "FROM..UNTIL" in seconds.
Result<std::optional<sim::Outage>> ParseOutage(const char* name, const std::string& text) {
  if (text.empty()) return std::optional<sim::Outage>();
  double from = 0, until = 0;
  int used = 0;
  if (std::sscanf(text.c_str(), "%lf..%lf%n", &from, &until, &used) != 2 ||
      used != static_cast<int>(text.size()) || !(from >= 0 && until > from && until <= 1e6)) {
    return InvalidArgument(std::string(name) + " " + text + ": say seconds as FROM..UNTIL, 0.5..2");
  }
  const auto time = [](double seconds) {
    return std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9));
  };
  return std::optional<sim::Outage>({time(from), time(until)});
}

Result<sim::Options> OptionsOf(const SimArgs& args) {
  if (!(args.max_round_trip_ms >= 0 && args.max_round_trip_ms <= kMaxRoundTripMs)) {
    return InvalidArgument("--rtt must be from 0 to 10000 ms");
  }
  sim::Options options;
  options.nodes = args.nodes;
  options.size_bytes = args.size_bytes;
  options.seed = args.seed;
  options.uplink = args.uplink * kBytesPerMbit;
  options.downlink = args.downlink * kBytesPerMbit;
  options.origin = args.origin * kBytesPerMbit;
  options.max_round_trip =
      std::chrono::microseconds(static_cast<int64_t>(args.max_round_trip_ms * 1000));
  options.min_round_trip = std::min(options.min_round_trip, options.max_round_trip);
  options.rack_link = args.rack_link * kBytesPerMbit;
  options.zone_link = args.zone_link * kBytesPerMbit;
  options.racks = args.racks;
  options.zones = args.zones;
  options.blobs = args.blobs;
  options.judged = !args.no_digest;
  options.away = std::chrono::milliseconds(args.away_ms);
  options.attesting = args.attesting;
  options.loss = args.loss;
  options.lying = args.lying;
  options.slow = args.slow;
  options.churn = args.churn;
  options.lying_bitmaps = args.lying_bitmaps;
  options.full = args.full;
  options.refused = args.refused;
  options.ranges = !args.no_ranges;
  options.origin_goes_when = args.origin_gone_at;
  options.tracker_outage = TRY(ParseOutage("--tracker-away", args.tracker_away));
  options.origin_outage = TRY(ParseOutage("--origin-away", args.origin_away));
  options.partition = TRY(ParseOutage("--partition", args.partition));
  return options;
}

double SizeOfAll(const SimArgs& args) { return double(args.size_bytes) * args.blobs; }

nlohmann::json ToJson(const SimArgs& args, const sim::Report& report) {
  auto slices = nlohmann::json::array();
  for (const sim::Slice& slice : report.slices) {
    slices.push_back({{"uplinks", slice.uplinks}, {"origin", slice.origin}, {"have", slice.have}});
  }
  return {{"slices", slices},
          {"slice_seconds", report.bound_seconds * sim::Report::kSliceOfBound},
          {"served_wrong", report.served_wrong},
          {"most_waiting", report.most_waiting},
          {"outstanding", report.outstanding},
          {"nodes", args.nodes},
          {"size_bytes", args.size_bytes},
          {"seed", args.seed},
          {"seconds", report.seconds},
          {"median_seconds", report.median_seconds},
          {"bound_seconds", report.bound_seconds},
          {"restart_bound_seconds", report.restart_bound_seconds},
          {"ratio", report.Ratio()},
          {"origin_bytes", report.origin_bytes},
          {"origin_per_size", double(report.origin_bytes) / SizeOfAll(args)},
          {"cross_rack_bytes", report.cross_rack_bytes},
          {"mismatches", report.mismatches},
          {"banned_honest", report.banned_honest},
          {"unnamed", report.unnamed},
          {"blobs", args.blobs},
          {"wasted_bytes", report.wasted_bytes},
          {"control_messages_per_node", double(report.control_messages) / args.nodes},
          {"busy_answers", report.busy_answers},
          {"honest", report.honest},
          {"complete", report.complete},
          {"wrong", report.wrong},
          {"gave_up", report.gave_up},
          {"banned", report.banned}};
}

// A line of bars, one for each part of the time: how busy, or how far.
std::string Bars(const sim::Report& report, double sim::Slice::*value) {
  static constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr size_t kWidth = 60;
  const size_t step = report.slices.size() / kWidth + 1;
  std::string bars;
  for (size_t i = 0; i < report.slices.size(); i += step) {
    const double share = std::clamp(report.slices[i].*value, 0.0, 1.0);
    bars += kBars[static_cast<size_t>(share * 8 + 0.5)];
  }
  return bars;
}

void PrintPicture(const sim::Report& report) {
  std::printf("pieces at nodes    |%s|\n", Bars(report, &sim::Slice::have).c_str());
  std::printf("uplinks busy       |%s|\n", Bars(report, &sim::Slice::uplinks).c_str());
  std::printf("origin busy        |%s| a bar is %.2g s\n",
              Bars(report, &sim::Slice::origin).c_str(),
              report.bound_seconds * sim::Report::kSliceOfBound *
                  static_cast<double>(report.slices.size() / 60 + 1));
}

void Print(const SimArgs& args, const sim::Report& report) {
  PrintPicture(report);
  std::printf("slowest node       %.2f s (median %.2f s)\n", report.seconds, report.median_seconds);
  std::printf("bound of the links %.2f s, ratio %.2f\n", report.bound_seconds, report.Ratio());
  if (report.restart_bound_seconds > report.bound_seconds) {
    std::printf("with the restarts  %.2f s, ratio %.2f\n", report.restart_bound_seconds,
                report.seconds / report.restart_bound_seconds);
  }
  std::printf("from the origin    %.3f x the size\n",
              double(report.origin_bytes) / SizeOfAll(args));
  if (args.racks > 1) {
    std::printf("between racks      %.3f x the size into each\n",
                double(report.cross_rack_bytes) / SizeOfAll(args) / args.racks);
  }
  std::printf("control messages   %.0f per node\n", double(report.control_messages) / args.nodes);
  std::printf("complete           %u of %u honest nodes, %u with a wrong byte, %u banned\n",
              report.complete, report.honest, report.wrong, report.banned);
  std::printf("given up           %u times, busy %llu times, %.3f x the size wasted per node\n",
              report.gave_up, static_cast<unsigned long long>(report.busy_answers),
              double(report.wasted_bytes) / SizeOfAll(args) / args.nodes);
}

}  // namespace

int RunSim(const Common& common, const SimArgs& args) {
  const auto options = OptionsOf(args);
  if (!options.ok()) return Fail("sim", options.status());
  const auto report = sim::Simulate(*options);
  if (!report.ok()) return Fail("sim", report.status());
  if (common.json) {
    std::cout << ToJson(args, *report).dump(2) << "\n";
  } else if (!common.quiet) {
    Print(args, *report);
  }
  return report->complete == report->honest && report->wrong == 0 ? kDone : kFailed;
}

}  // namespace hearth::cmd
