// Counts the bytes that came into the store, by where they came from. Any thread.
#pragma once

#include <cstdint>

namespace hearth::p2p {

enum class ByteOrigin : uint8_t {
  kRegistry,    // blobs from a registry
  kFileServer,  // files from their own server
  kPeer,        // other nodes
  kContainerd   // written by containerd: pulls that were not ours, imports, builds
};

void CountReceived(ByteOrigin from, uint64_t bytes);

}  // namespace hearth::p2p
