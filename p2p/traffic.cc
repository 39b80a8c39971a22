#include "p2p/traffic.h"

#include <atomic>

#include "base/metrics.h"

namespace hearth::p2p {

namespace {

CounterFamily g_received("hearth_received_bytes_total",
                         "Bytes that came into the store, by where they came from.", {"source"});

CounterFamily g_sent("hearth_sent_bytes_total", "Bytes of pieces that other nodes got.");

std::atomic<uint64_t> g_from_origins = 0;
std::atomic<uint64_t> g_from_peers = 0;
std::atomic<uint64_t> g_to_peers = 0;

}  // namespace

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

void CountReceived(ByteOrigin from, uint64_t bytes) {
  g_received.Add({NameOf(from)}, static_cast<double>(bytes));
  if (from == ByteOrigin::kPeer) g_from_peers += bytes;
  if (from == ByteOrigin::kRegistry || from == ByteOrigin::kFileServer) g_from_origins += bytes;
}

void CountSentToPeer(uint64_t bytes) {
  g_sent.Add({}, static_cast<double>(bytes));
  g_to_peers += bytes;
}

TrafficTotals Totals() { return {g_from_origins, g_from_peers, g_to_peers}; }

}  // namespace hearth::p2p
