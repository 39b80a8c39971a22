// tracker_bench: joins per second, and what an inventory weighs. Prints JSON.
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "manager/tracker.h"

namespace hearth::manager {
namespace {

constexpr uint64_t kSize = uint64_t{1} << 30;  // 1,024 pieces
constexpr uint32_t kPieces = 1024;

double Seconds(SteadyTime::duration time) { return std::chrono::duration<double>(time).count(); }
size_t HeapBytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

// All nodes join one swarm, as when a cluster preheats an image.
double JoinsPerSecond(uint32_t nodes) {
  Tracker tracker(7);
  const Digest blob = Digest::Of("blob");
  const auto start = std::chrono::steady_clock::now();
  for (uint32_t node = 0; node < nodes; ++node) {
    const Labels labels{"r", "z" + std::to_string(node % 3), std::to_string(node % 40)};
    const Status entered = tracker.Enter(
        {NodeId{node}, labels, blob, kSize, PieceBitmap(kPieces), true}, SteadyTime{});
    if (!entered.ok()) return 0;
    (void)tracker.Take();
  }
  return nodes / Seconds(std::chrono::steady_clock::now() - start);
}

void Inventories() {
  constexpr uint32_t kNodes = 1000, kHeld = 10'000, kBlobs = 100'000;
  std::vector<Digest> blobs;
  for (uint32_t i = 0; i < kBlobs; ++i) blobs.push_back(Digest::Of(std::to_string(i)));
  const size_t before = HeapBytes();
  Tracker tracker(7);
  uint64_t random = 1;
  const auto start = std::chrono::steady_clock::now();
  for (uint32_t node = 0; node < kNodes; ++node) {
    std::vector<Digest> held;
    for (uint32_t i = 0; i < kHeld; ++i) {
      random = random * 6364136223846793005 + 1442695040888963407;
      held.push_back(blobs[(random >> 33) % kBlobs]);
    }
    if (!tracker.Holds(NodeId{node}, {}, held, SteadyTime{}).ok()) return;
  }
  const double told = Seconds(std::chrono::steady_clock::now() - start);
  const double mib = static_cast<double>(HeapBytes() - before) / (1 << 20);
  const auto gone = std::chrono::steady_clock::now();
  for (uint32_t node = 0; node < 100; ++node) tracker.NodeGone(NodeId{node}, SteadyTime{});
  std::printf(
      "  \"inventory\": {\"nodes\": %u, \"blobs_of_each\": %u, \"distinct\": %zu, \"mib\": %.1f,\n"
      "    \"seconds_to_tell\": %.2f, \"seconds_for_a_node_that_goes\": %.4f}\n",
      kNodes, kHeld, tracker.inventory().blobs(), mib, told,
      Seconds(std::chrono::steady_clock::now() - gone) / 100);
}

}  // namespace
}  // namespace hearth::manager

int main() {
  std::printf("{\n  \"joins_per_second\": {");
  for (const uint32_t nodes : {100, 1000, 10'000, 20'000}) {
    std::printf("%s\"%u nodes\": %.0f", nodes == 100 ? "" : ", ", nodes,
                hearth::manager::JoinsPerSecond(nodes));
  }
  std::printf("},\n");
  hearth::manager::Inventories();
  std::printf("}\n");
}
