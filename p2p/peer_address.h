// Where another node of the cluster is, and who it must prove to be.
#pragma once

#include <string>

namespace hearth::p2p {

struct PeerAddress {
  std::string id;               // of the node, as in its certificate
  std::string name;             // for people
  std::string data_address;     // "HOST:PORT" of its peer server
  std::string control_address;  // "HOST:PORT" of its neighbour service

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

}  // namespace hearth::p2p
