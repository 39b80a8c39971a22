// What a node's /metrics reads when somebody asks: the store by state, queues, containerd, build.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/thread.h"
#include "store/store.h"

namespace hearth::cmd {

// Blobs, layers, snapshots and ingests by state. Walks the index.
void AddStoreReadings(store::Store& store, std::vector<Reading>& out);
// Room of the file system that holds the store.
void AddSpaceReadings(const store::Store& store, std::vector<Reading>& out);
// Tasks that wait, by pool.
void AddQueueReadings(const std::vector<std::pair<std::string, const ThreadPool*>>& pools,
                      std::vector<Reading>& out);
void AddBuildReading(std::vector<Reading>& out);
Reading ContainerdReading(bool connected);

}  // namespace hearth::cmd
