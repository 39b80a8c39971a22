// What a node of the cluster, or who stole its key, may ask the data port: path, then Range.
#include <cstdint>
#include <string_view>

#include "p2p/peer_server.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  const auto range = hearth::p2p::ParsePieceRequest(text.substr(0, line),
                                                    line == text.npos ? "" : text.substr(line + 1));
  if (range.ok()) {
    CHECK(range->begin_bytes < range->end_bytes);
    CHECK(range->end_bytes - range->begin_bytes <= hearth::p2p::PeerServer::kMaxRangeBytes);
  }
  return 0;
}
