// Holders: names what needs a blob or a layer of the store, for people who want to remove it.
//
// Any thread but containerd's handlers in us; asks containerd where there is one.
#pragma once

#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/containerd_client.h"
#include "store/store.h"

namespace hearth::plugin {

class Holders {
 public:
  // `containerd` null = none is configured. Both must outlive this.
  Holders(store::Store& store, ContainerdClient* containerd)
      : store_(store), containerd_(containerd) {}

  // "image docker.io/library/x:v1 (k8s.io)" each. Empty where containerd cannot be asked, or where
  // it is neither: a lease, a pull under way.
  std::vector<std::string> OfBlob(const Digest& digest) const;
  // Images as above, else "snapshot NAME" and "layer CHAIN".
  std::vector<std::string> OfLayer(const Digest& chain) const;

 private:
  std::vector<std::string> Images(const Digest& part) const;

  store::Store& store_;
  ContainerdClient* const containerd_;
};

// "a, b and 3 more"; `none` where there are none.
std::string JoinHolders(const std::vector<std::string>& holders, const std::string& none);

}  // namespace hearth::plugin
