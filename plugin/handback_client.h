// HandbackClient: the long calls to containerd's API that handing images back takes. What
// ContainerdClient does in milliseconds may take minutes here, so each ends with a stop token.
//
// Any thread but containerd's handlers in us (they would deadlock). kCancelled: stopped;
// kUnavailable: containerd does not answer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/chain_index.h"
#include "plugin/containerd_client.h"
#include "store/blob.h"

namespace hearth::plugin {

// One layer of an image that containerd is to unpack.
struct LayerToUnpack {
  std::string containerd_namespace;
  std::string lease;  // holds the layer until something refers to it
  std::string snapshotter;
  ImageLayer layer;
  std::optional<Digest> parent_chain;
};

class HandbackClient {
 public:
  static std::unique_ptr<HandbackClient> Create(const std::string& address);
  virtual ~HandbackClient() = default;

  // A blob's bytes out of whatever store containerd runs with. kNotFound; kResourceExhausted when
  // there are more than `limit_bytes`.
  virtual Result<std::string> ReadContent(const std::string& ns, const Digest& digest,
                                          uint64_t limit_bytes, const std::stop_token& stop) = 0;
  // Gives containerd's store the bytes of `blob`. OK when it has them already.
  virtual Status WriteContent(const std::string& ns, const std::string& lease,
                              const ContentToAdopt& content, store::Blob& blob,
                              const std::stop_token& stop) = 0;
  // Has containerd make a snapshot named after the chain: Prepare, Apply, Commit, as a client that
  // unpacks does. OK when the namespace has it. kDataLoss: the layer's diff ID is another.
  virtual Status UnpackLayer(const LayerToUnpack& layer, const std::stop_token& stop) = 0;
};

}  // namespace hearth::plugin
