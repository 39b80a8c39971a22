// Counts the bytes that came into the store, by where they came from. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace hearth::p2p {

enum class ByteOrigin : uint8_t {
  kRegistry,    // blobs from a registry
  kFileServer,  // files from their own server
  kPeer,        // other nodes
  kContainerd   // written by containerd: pulls that were not ours, imports, builds
};

// "registry", "file_server", "peer" or "containerd", as metrics and answers say.
std::string_view NameOf(ByteOrigin from);

void CountReceived(ByteOrigin from, uint64_t bytes);
void CountSentToPeer(uint64_t bytes);

// What was counted since the start.
struct TrafficTotals {
  uint64_t from_origins = 0;  // registries and file servers
  uint64_t from_peers = 0;
  uint64_t to_peers = 0;
};
TrafficTotals Totals();

}  // namespace hearth::p2p
