// Source: whoever can give a blob's bytes; a peer and the origin look the same.
#pragma once

#include <stop_token>
#include <string>

#include "base/status.h"
#include "p2p/blob_writer.h"

namespace hearth::p2p {

class Source {
 public:
  virtual ~Source() = default;
  // For messages: "registry.example.com/team/app". Never holds a credential.
  virtual std::string name() const = 0;
  // Brings what `into` still lacks, up to its last byte. The digest is not checked here. Blocks;
  // waits are bounded, and no Append() comes after the return.
  virtual Status Fetch(BlobWriter& into, std::stop_token stop) = 0;
};

}  // namespace hearth::p2p
