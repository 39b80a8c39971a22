#include "p2p/traffic.h"

#include <string_view>

#include "base/metrics.h"

namespace hearth::p2p {

namespace {

CounterFamily g_received("hearth_received_bytes_total",
                         "Bytes that came into the store, by where they came from.", {"source"});

std::string_view NameOf(ByteOrigin from) {
  switch (from) {
    case ByteOrigin::kRegistry:
      return "registry";
    case ByteOrigin::kFileServer:
      return "file_server";
    case ByteOrigin::kPeer:
      return "peer";
    case ByteOrigin::kContainerd:
      return "containerd";
  }
  return "other";
}

}  // namespace

void CountReceived(ByteOrigin from, uint64_t bytes) {
  g_received.Add({NameOf(from)}, static_cast<double>(bytes));
}

}  // namespace hearth::p2p
