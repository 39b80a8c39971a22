#include "plugin/mirror_path.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

using Kind = MirrorPath::Kind;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(MirrorPath, ReadsWhatContainerdSends) {
  struct Case {
    std::string path;
    std::string query;
    Kind kind;
    std::string registry;
    std::string repository;
    std::string object;
  };
  const Case cases[] = {
      {"/v2", "", Kind::kBase, "", "", ""},
      {"/v2/", "ns=docker.io", Kind::kBase, "", "", ""},
      {"/v2/library/nginx/manifests/1.27", "ns=docker.io", Kind::kManifest, "docker.io",
       "library/nginx", "1.27"},
      {"/v2/library/nginx/manifests/1.27", "", Kind::kManifest, "docker.io", "library/nginx",
       "1.27"},
      {"/v2/a/manifests/" + kDigest, "ns=127.0.0.1:5000", Kind::kManifest, "127.0.0.1:5000", "a",
       kDigest},
      {"/v2/a/b/c/blobs/" + kDigest, "x=1&ns=registry.k8s.io", Kind::kBlob, "registry.k8s.io",
       "a/b/c", kDigest},
      {"/v2/a/blobs/sha256%3A" + std::string(64, 'a'), "ns=h%3A5000", Kind::kBlob, "h:5000", "a",
       kDigest},
      {"/v2/a/blobs/blobs/" + kDigest, "ns=h.io", Kind::kBlob, "h.io", "a/blobs", kDigest},
      {"/v2/a/manifests/blobs/" + kDigest, "ns=h.io", Kind::kBlob, "h.io", "a/manifests", kDigest},
      {"/v2/a/manifests/v1", "ns=index.docker.io", Kind::kManifest, "docker.io", "a", "v1"},
      {"/v2/a/manifests/v1", "ns=%5B::1%5D:5000", Kind::kManifest, "[::1]:5000", "a", "v1"},
  };
  for (const Case& c : cases) {
    const auto path = MirrorPath::Parse(c.path, c.query, "docker.io");
    ASSERT_TRUE(path.ok()) << c.path << " " << path.status();
    EXPECT_EQ(path->kind, c.kind) << c.path;
    EXPECT_EQ(path->registry, c.registry) << c.path;
    EXPECT_EQ(path->repository, c.repository) << c.path;
    EXPECT_EQ(path->object, c.object) << c.path;
    EXPECT_EQ(path->digest.has_value(), c.object == kDigest) << c.path;
  }
}

TEST(MirrorPath, RefusesWhatIsNoNameOrEndpoint) {
  struct Case {
    std::string path;
    std::string query;
    StatusCode code;
  };
  const Case cases[] = {
      {"", "", StatusCode::kNotFound},
      {"/", "", StatusCode::kNotFound},
      {"/v2/_catalog", "", StatusCode::kNotFound},
      {"/v2/manifests/v1", "", StatusCode::kNotFound},
      {"/v2//manifests/v1", "", StatusCode::kInvalidArgument},
      {"/v2/a/tags/list", "", StatusCode::kNotFound},
      {"/v2/a/blobs/uploads/", "", StatusCode::kNotFound},
      {"/v2/a/blobs/latest", "", StatusCode::kInvalidArgument},
      {"/v2/a/blobs/sha256:abc", "", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/", "", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/-x", "", StatusCode::kInvalidArgument},
      {"/v2/../manifests/x", "", StatusCode::kInvalidArgument},
      {"/v2/a/%2e%2e/manifests/x", "", StatusCode::kInvalidArgument},
      {"/v2/A/manifests/x", "", StatusCode::kInvalidArgument},
      {"/v2/a%00/manifests/x", "", StatusCode::kInvalidArgument},
      {"/v2/a%zz/manifests/x", "", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/x", "ns=evil.io/path", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/x", "ns=user%40evil.io", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/x", "ns=a%0d%0aHost:b", StatusCode::kInvalidArgument},
      {"/v2/a/manifests/x", "ns=" + std::string(300, 'a'), StatusCode::kInvalidArgument},
      {"/v2/" + std::string(2000, 'a') + "/manifests/x", "", StatusCode::kNotFound},
  };
  for (const Case& c : cases) {
    const auto path = MirrorPath::Parse(c.path, c.query, "docker.io");
    EXPECT_EQ(path.status().code(), c.code) << c.path << "?" << c.query << " " << path.status();
  }
}

TEST(MirrorPath, WithoutDefaultRegistryNsIsNeeded) {
  EXPECT_EQ(MirrorPath::Parse("/v2/a/manifests/x", "", "").status().code(), StatusCode::kNotFound);
}

TEST(MirrorPath, ObjectPathLeavesOutRepositoryAndQuery) {
  const auto path = MirrorPath::Parse("/v2/a%2Fb/manifests/x", "ns=h.io&y=1", "");
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->ObjectPath(), "manifests/x");
}

}  // namespace
}  // namespace hearth::plugin
