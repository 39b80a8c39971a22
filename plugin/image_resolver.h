// ImageResolver: from an image's name to its manifests, asking the origin what a tag means now.
//
// Documents that the store holds are read there. Any thread; calls block on the network.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "oci/descriptor.h"
#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "oci/registry.h"
#include "plugin/tag_observer.h"
#include "store/blob_store.h"

namespace hearth::plugin {

// One platform's manifest of an image.
struct ResolvedManifest {
  oci::Platform platform;      // that was asked for
  oci::Descriptor descriptor;  // of the manifest
  oci::Manifest manifest;
  std::string bytes;
};

// As whom, and how, the registry is asked in place of the node's own settings.
struct ImageLogin {
  Secret<std::string> authorization;  // a header as it is
  oci::Credential credential;
  std::optional<bool> plain_http;
};

struct ResolvedImage {
  oci::Reference reference;
  oci::Access origin;      // with the login
  oci::Descriptor target;  // what the name stands for: an index or a manifest
  std::string target_bytes;
  std::vector<ResolvedManifest> manifests;  // one per platform asked for, in that order
};

class ImageResolver {
 public:
  // All must outlive this. `observer` hears of each tag that was resolved; null = nobody.
  ImageResolver(oci::Registry& registry, store::BlobStore& blobs, TagObserver* observer = nullptr)
      : registry_(registry), blobs_(blobs), observer_(observer) {}

  // `platforms` empty = this machine's; `login` {} = the node's own. kNotFound: no such image or
  // platform (says which there are); other errors as Registry.
  Result<ResolvedImage> Resolve(const std::string& reference,
                                const std::vector<oci::Platform>& platforms, std::stop_token stop,
                                const ImageLogin& login = {});

  // Puts a small document into the store. Errors as BlobStore::Grow.
  Status Keep(const Digest& digest, const std::string& bytes, std::stop_token stop);
  // A complete small blob of the store.
  Result<std::string> Read(const Digest& digest, uint64_t limit_bytes) const;
  struct Document {
    oci::Descriptor descriptor;
    std::string bytes;
  };
  // The manifest or index of that digest, from the store or the origin. Errors as Registry.
  Result<Document> Load(const oci::Access& origin, const Digest& digest, std::stop_token stop);

 private:
  oci::Registry& registry_;
  store::BlobStore& blobs_;
  TagObserver* const observer_;
};

}  // namespace hearth::plugin
