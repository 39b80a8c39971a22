// Unpreheater: takes a preheat of an image back: what it marked is marked no longer, and what
// containerd does not use goes.
//
// What other preheated images need too stays as it is. Any thread; blocks on the network where a
// tag is to be resolved.
#pragma once

#include <cstdint>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/chain_index.h"
#include "plugin/image_resolver.h"
#include "store/store.h"

namespace hearth::plugin {

struct Unpreheated {
  std::string reference;  // in full
  Digest digest;          // what it stands for now
  size_t blobs = 0;       // gone
  size_t layers = 0;
  uint64_t freed_bytes = 0;  // as the records count them
  size_t used = 0;           // blobs and layers that containerd uses, no longer marked
  size_t shared = 0;         // left as they were, for other preheated images
};

class Unpreheater {
 public:
  Unpreheater(store::Store& store, ImageResolver& resolver) : store_(store), resolver_(resolver) {}

  // Of every platform that the store has. kNotFound: nothing of it is preheated; other errors as
  // ImageResolver::Resolve.
  Result<Unpreheated> Run(const std::string& reference, std::stop_token stop);

 private:
  // What an image is made of, its own documents among the blobs. Layers lowest first.
  struct Parts {
    std::set<Digest> blobs;
    std::vector<ImageLayer> layers;
  };
  // Adds the manifest of that digest, or each that an index of it names and the store has.
  void Add(const Digest& digest, Parts& parts) const;
  // Parts of all preheated images whose documents are not among `without`.
  Result<Parts> Others(const std::set<Digest>& without) const;
  Status DropLayers(const Parts& parts, const Parts& others, std::set<Digest>& needed,
                    Unpreheated& done) const;
  Status DropBlobs(const Parts& parts, const Parts& others, const std::set<Digest>& needed,
                   Unpreheated& done) const;

  store::Store& store_;
  ImageResolver& resolver_;
};

}  // namespace hearth::plugin
