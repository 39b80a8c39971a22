#include "plugin/seen_blobs.h"

#include <gtest/gtest.h>

#include "oci/media_type.h"

namespace hearth::plugin {
namespace {

oci::Access AccessOf(const std::string& repository) {
  return {.registry = "h.io", .repository = repository, .authorization = {}};
}

TEST(SeenBlobs, BlobBelongsToTheRepositoryWhoseManifestNamesIt) {
  const Digest config = Digest::Of("config");
  const Digest layer = Digest::Of("layer");
  const std::string manifest =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)"
      R"({"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
      config.ToString() + R"(","size":6},"layers":[{"mediaType":)" +
      R"("application/vnd.oci.image.layer.v1.tar+gzip","digest":")" + layer.ToString() +
      R"(","size":5}]})";
  SeenBlobs seen;
  seen.AddChildren(AccessOf("a"), manifest, oci::kOciManifest);
  EXPECT_EQ(seen.Find(AccessOf("a"), config), 6u);
  EXPECT_EQ(seen.Find(AccessOf("a"), layer), 5u);
  EXPECT_EQ(seen.Find(AccessOf("b"), layer), std::nullopt);
  seen.AddChildren(AccessOf("b"), "no json", oci::kOciManifest);
  EXPECT_EQ(seen.Find(AccessOf("b"), layer), std::nullopt);
}

TEST(SeenBlobs, IndexNamesItsManifests) {
  const Digest child = Digest::Of("child");
  const std::string index =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)"
      R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
      child.ToString() + R"(","size":77,"platform":{"os":"linux","architecture":"amd64"}}]})";
  SeenBlobs seen;
  seen.AddChildren(AccessOf("a"), index, oci::kOciIndex);
  EXPECT_EQ(seen.Find(AccessOf("a"), child), 77u);
}

TEST(SeenBlobs, FullForgetsWhatWasNotAskedForLongest) {
  SeenBlobs seen(2);
  seen.Add(AccessOf("a"), Digest::Of("1"), 1);
  seen.Add(AccessOf("a"), Digest::Of("2"), 2);
  EXPECT_EQ(seen.Find(AccessOf("a"), Digest::Of("1")), 1u);
  seen.Add(AccessOf("a"), Digest::Of("3"), 3);
  EXPECT_EQ(seen.Find(AccessOf("a"), Digest::Of("2")), std::nullopt);
  EXPECT_EQ(seen.Find(AccessOf("a"), Digest::Of("1")), 1u);
  EXPECT_EQ(seen.Find(AccessOf("a"), Digest::Of("3")), 3u);
}

}  // namespace
}  // namespace hearth::plugin
