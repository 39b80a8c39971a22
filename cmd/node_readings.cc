#include "cmd/node_readings.h"

#include <filesystem>
#include <map>

#include "base/log.h"

namespace hearth::cmd {

namespace {

struct Amount {
  double count = 0;
  double bytes = 0;

  void Add(uint64_t size_bytes) {
    ++count;
    bytes += static_cast<double>(size_bytes);
  }
};

using ByState = std::map<std::string, Amount>;

// Two families: hearth_THINGs and hearth_THING_bytes.
void AddStates(const std::string& thing, const std::string& help, const ByState& states,
               std::vector<Reading>& out) {
  for (const auto& [state, amount] : states) {
    out.push_back({.name = "hearth_" + thing + "s",
                   .help = "Number of " + help,
                   .labels = {{"state", state}},
                   .value = amount.count});
    out.push_back({.name = "hearth_" + thing + "_bytes",
                   .help = "Bytes of " + help,
                   .labels = {{"state", state}},
                   .value = amount.bytes});
  }
}

void Noted(const Status& status) {
  if (!status.ok()) LOG_WARNING("metrics are incomplete", {{"error", status}});
}

void AddBlobs(store::Store& store, std::vector<Reading>& out) {
  // All states from the start, so that a rule finds a zero instead of nothing.
  ByState blobs{{"claimed", {}}, {"preheated", {}}, {"unclaimed", {}}, {"partial", {}}};
  Noted(store.blobs().List([&](const store::BlobInfo& info) {
    blobs[info.claimed     ? "claimed"
          : info.preheated ? "preheated"
                           : "unclaimed"]
        .Add(info.size_bytes);
    return true;
  }));
  Noted(store.blobs().ListPartial([&](const store::PartialInfo& info) {
    blobs["partial"].Add(info.present_bytes);
    return true;
  }));
  AddStates("blob",
            "blobs: claimed by containerd, else preheated, else unclaimed; partial: bytes that are "
            "here so far.",
            blobs, out);
  ByState ingests{{"open", {}}};
  Noted(store.ingests().List([&](const store::IngestInfo& info) {
    ingests["open"].Add(info.offset_bytes);
    return true;
  }));
  AddStates("ingest", "ingests that are not committed yet.", ingests, out);
}

void AddLayers(store::Store& store, std::vector<Reading>& out) {
  ByState layers{{"durable", {}}, {"volatile", {}}, {"lost", {}}};
  Noted(store.snapshots().ListLayers([&](const store::LayerInfo& info) {
    layers[info.durable ? "durable" : "volatile"].Add(info.disk_bytes);
    return true;
  }));
  for (const auto& lost : store.snapshots().LostLayers()) layers["lost"].Add(lost.disk_bytes);
  AddStates("layer",
            "unpacked layers; volatile ones are made anew after a crash of the machine, which lost "
            "ones wait for.",
            layers, out);
  std::map<std::string, double> snapshots{{"active", 0}, {"view", 0}, {"committed", 0}};
  Noted(store.snapshots().List([&](const store::SnapshotInfo& info) {
    ++snapshots[info.kind == store::SnapshotKind::kActive ? "active"
                : info.kind == store::SnapshotKind::kView ? "view"
                                                          : "committed"];
    return true;
  }));
  for (const auto& [kind, count] : snapshots) {
    out.push_back({.name = "hearth_snapshots",
                   .help = "Snapshots of containerd by kind.",
                   .labels = {{"kind", kind}},
                   .value = count});
  }
}

}  // namespace

void AddStoreReadings(store::Store& store, std::vector<Reading>& out) {
  AddBlobs(store, out);
  AddLayers(store, out);
}

void AddSpaceReadings(const store::Store& store, std::vector<Reading>& out) {
  const auto inodes = store::RealDisk().CountInodes(store.root());
  if (inodes.ok() && inodes->total > 0) {
    out.push_back({.name = "hearth_filesystem_free_inodes",
                   .help = "Free inodes of the file system that holds the store.",
                   .labels = {},
                   .value = static_cast<double>(inodes->free)});
    out.push_back({.name = "hearth_filesystem_inodes",
                   .help = "Inodes that the file system which holds the store can have at all.",
                   .labels = {},
                   .value = static_cast<double>(inodes->total)});
  }
  std::error_code error;
  const auto space = std::filesystem::space(store.root(), error);
  if (error) return;
  out.push_back({.name = "hearth_filesystem_free_bytes",
                 .help = "Free bytes of the file system that holds the store.",
                 .labels = {},
                 .value = static_cast<double>(space.available)});
  out.push_back({.name = "hearth_filesystem_size_bytes",
                 .help = "Size of the file system that holds the store.",
                 .labels = {},
                 .value = static_cast<double>(space.capacity)});
}

void AddQueueReadings(const std::vector<std::pair<std::string, const ThreadPool*>>& pools,
                      std::vector<Reading>& out) {
  for (const auto& [name, pool] : pools) {
    out.push_back({.name = "hearth_queue_tasks",
                   .help = "Tasks that wait for a thread, by pool.",
                   .labels = {{"pool", name}},
                   .value = static_cast<double>(pool->waiting())});
  }
}

void AddBuildReading(std::vector<Reading>& out) {
  out.push_back({.name = "hearth_build_info",
                 .help = "Always 1; the labels say what runs.",
                 .labels = {{"version", HEARTH_VERSION}, {"compiler", __VERSION__}},
                 .value = 1});
}

Reading ContainerdReading(bool connected) {
  return {.name = "hearth_containerd_connected",
          .help = "1 while the configured containerd answers.",
          .labels = {},
          .value = connected ? 1.0 : 0.0};
}

}  // namespace hearth::cmd
