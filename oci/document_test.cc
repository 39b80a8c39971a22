#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oci/chain_id.h"
#include "oci/config.h"
#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"

namespace hearth::oci {
namespace {

using testing::HasSubstr;

const std::string kD = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string Entry(const std::string& type, const std::string& more = "") {
  return "{\"mediaType\":\"" + type + "\",\"digest\":\"" + kD + "\",\"size\":7" + more + "}";
}

std::string ManifestOf(const std::string& layers) {
  return R"({"schemaVersion":2,"config":)" + Entry(std::string(kOciConfig)) + R"(,"layers":[)" +
         layers + "]}";
}

TEST(Manifest, ReadsOciAndDocker) {
  const std::string text =
      ManifestOf(Entry(std::string(kOciLayerGzip), R"(,"annotations":{"a":"b"},"urls":["u"])"));
  for (const std::string_view type : {kOciManifest, kDockerManifest}) {
    const auto manifest = Manifest::Parse(text, type);
    ASSERT_TRUE(manifest.ok()) << manifest.status();
    EXPECT_EQ(manifest->media_type, type);
    EXPECT_EQ(manifest->config.size_bytes, 7u);
    ASSERT_EQ(manifest->layers.size(), 1u);
    EXPECT_EQ(manifest->layers[0].digest.ToString(), kD);
    EXPECT_EQ(manifest->layers[0].annotations.at("a"), "b");
    EXPECT_EQ(manifest->layers[0].urls, std::vector<std::string>{"u"});
  }
  EXPECT_EQ(Manifest::Parse(text, "application/octet-stream")->media_type, kOciManifest);
  EXPECT_EQ(Manifest::Parse(text, "")->media_type, kOciManifest);
}

TEST(Manifest, SaysWhichFieldIsWrong) {
  const std::string layer = std::string(kOciLayer);
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "is not JSON"},
           {"{", "is not JSON"},
           {"[]", "no JSON object"},
           {"{}", "neither a manifest nor an index"},
           {R"({"schemaVersion":2,"layers":[]})", "config is missing"},
           {R"({"schemaVersion":2,"config":[]})", "config is no object"},
           {ManifestOf("7"), "layers[0] is no object"},
           {ManifestOf(R"({"mediaType":"x","size":1})"), "layers[0].digest is missing"},
           {ManifestOf(R"({"digest":"sha256:00","size":1})"), "layers[0].digest"},
           {ManifestOf(R"({"digest":")" + kD + R"("})"), "layers[0].size is missing"},
           {ManifestOf(R"({"digest":")" + kD + R"(","size":-1})"), "layers[0].size is negative"},
           {ManifestOf(R"({"digest":")" + kD + R"(","size":1.5})"), "no whole number"},
           {ManifestOf(R"({"digest":")" + kD + R"(","size":2251799813685248})"), "1 PiB"},
           {ManifestOf(R"({"digest":7,"size":1})"), "layers[0].digest is no text"},
           {ManifestOf(Entry(layer, R"(,"annotations":[])")), "annotations is no object"},
           {ManifestOf(Entry(layer, R"(,"urls":[1])")), "urls has an entry"},
           {R"({"schemaVersion":3,"config":)" + Entry("x") + "}", "schemaVersion is 3"},
           {R"({"schemaVersion":2,"manifests":[]})", "is an index"},
           {R"({"manifests":[],"layers":[]})", "ambiguous"},
       }) {
    const Status status = Manifest::Parse(text, "").status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text << ": " << status;
    EXPECT_THAT(status.message(), HasSubstr(why)) << text;
  }
}

// What the unpacker cannot take it refuses itself; the manifest carries it as it is.
TEST(Manifest, LayerOfATerabyteIsCarried) {
  const auto manifest =
      Manifest::Parse(ManifestOf(R"({"digest":")" + kD + R"(","size":1099511627776})"), "");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->layers[0].size_bytes, uint64_t{1} << 40);
}

TEST(Manifest, Limits) {
  EXPECT_EQ(Manifest::Parse(ManifestOf("") + std::string(4 * 1024 * 1024, ' '), "").status().code(),
            StatusCode::kResourceExhausted);
  std::string layers = Entry("x");
  for (int i = 0; i < 1000; ++i) layers += "," + Entry("x");
  EXPECT_EQ(Manifest::Parse(ManifestOf(layers), "").status().code(),
            StatusCode::kResourceExhausted);
}

TEST(Manifest, Schema1IsRefusedWithAClearWord) {
  const std::string text = R"({"schemaVersion":1,"name":"x","fsLayers":[]})";
  for (const char* type :
       {"", "application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws"}) {
    const Status status = Manifest::Parse(text, type).status();
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
    EXPECT_THAT(status.message(), HasSubstr("schema 1"));
    EXPECT_EQ(DocumentMediaType(text, type).status().code(), StatusCode::kUnimplemented);
  }
}

TEST(DocumentMediaType, RegistryAndDocumentMustAgree) {
  const std::string manifest =
      R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","config":)" + Entry("x") + "}";
  EXPECT_EQ(*DocumentMediaType(manifest, "application/vnd.oci.image.manifest.v1+json; charset=x"),
            kOciManifest);
  EXPECT_EQ(*DocumentMediaType(manifest, "text/plain"), kOciManifest);
  EXPECT_EQ(DocumentMediaType(manifest, kDockerManifest).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(DocumentMediaType(R"({"manifests":[]})", kOciManifest).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(DocumentMediaType(R"({"mediaType":"a/b","config":{}})", "").status().code(),
            StatusCode::kInvalidArgument);
}

std::string IndexEntry(const std::string& platform, char digit) {
  std::string digest = kD;
  digest.back() = digit;
  return R"({"mediaType":")" + std::string(kOciManifest) + R"(","size":1,"digest":")" + digest +
         "\"" + (platform.empty() ? "" : R"(,"platform":)" + platform) + "}";
}

char Chosen(const std::string& entries, std::string_view wanted) {
  const auto index = Index::Parse(R"({"schemaVersion":2,"manifests":[)" + entries + "]}", "");
  EXPECT_TRUE(index.ok()) << index.status();
  const auto chosen = index->Choose(*Platform::Parse(wanted));
  return chosen.ok() ? chosen->digest.hex().back() : '-';
}

TEST(Index, ChoosesTheBestPlatform) {
  const std::string arm5 = IndexEntry(R"({"os":"linux","architecture":"arm","variant":"v5"})", '5');
  const std::string arm7 = IndexEntry(R"({"os":"linux","architecture":"arm","variant":"v7"})", '7');
  const std::string amd = IndexEntry(R"({"os":"linux","architecture":"x86_64"})", 'a');
  const std::string amd2 =
      IndexEntry(R"({"os":"linux","architecture":"amd64","variant":"v2"})", '2');
  const std::string unknown = IndexEntry(R"({"os":"unknown","architecture":"unknown"})", 'f');
  const std::string none = IndexEntry("", '0');
  EXPECT_EQ(Chosen(arm5 + "," + arm7, "linux/arm/v7"), '7');
  EXPECT_EQ(Chosen(arm5 + "," + arm7, "linux/arm/v6"), '5');
  EXPECT_EQ(Chosen(arm5 + "," + arm7, "linux/amd64"), '-');
  EXPECT_EQ(Chosen(unknown + "," + amd + "," + amd2, "linux/amd64"), 'a');
  EXPECT_EQ(Chosen(amd + "," + amd2, "linux/amd64/v3"), '2');
  EXPECT_EQ(Chosen(none + "," + amd, "linux/amd64"), 'a');
  EXPECT_EQ(Chosen(none + "," + amd, "linux/s390x"), '0');
  EXPECT_EQ(Chosen("", "linux/amd64"), '-');
}

TEST(Index, NothingFittingListsWhatThereIs) {
  const auto index = Index::Parse(
      R"({"manifests":[)" + IndexEntry(R"({"os":"linux","architecture":"arm64"})", '1') + "]}",
      kDockerList);
  const Status status = index->Choose(*Platform::Parse("linux/s390x")).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("linux/arm64"));
}

TEST(MediaType, Kinds) {
  EXPECT_TRUE(IsLayerType(kDockerLayerGzip));
  EXPECT_TRUE(IsLayerType("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
  EXPECT_FALSE(IsLayerType("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
  EXPECT_FALSE(IsLayerType(kOciConfig));
  EXPECT_EQ(LayerCompression(kOciLayer), Compression::kNone);
  EXPECT_EQ(LayerCompression(kDockerLayerGzip), Compression::kGzip);
  EXPECT_EQ(LayerCompression(kOciLayerZstd), Compression::kZstd);
  EXPECT_EQ(WithoutParameters(" a/b ; charset=utf-8"), "a/b");
}

TEST(ImageConfig, Reads) {
  const auto config = ImageConfig::Parse(R"({"os":"linux","architecture":"arm","variant":"6",)"
                                         R"("rootfs":{"type":"layers","diff_ids":[")" +
                                         kD + R"("]}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->platform.ToString(), "linux/arm/v6");
  ASSERT_EQ(config->diff_ids.size(), 1u);
  EXPECT_EQ(config->diff_ids[0].ToString(), kD);
}

TEST(ImageConfig, SaysWhatIsWrong) {
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"x", "is not JSON"},
           {"{}", "rootfs is missing"},
           {R"({"os":1,"rootfs":{}})", "os is no text"},
           {R"({"rootfs":{"diff_ids":{}}})", "diff_ids is no list"},
           {R"({"rootfs":{"diff_ids":["sha256:1"]}})", "diff_ids[0]"},
           {R"({"rootfs":{"diff_ids":[1]}})", "diff_ids[0] is no text"},
       }) {
    const Status status = ImageConfig::Parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr(why)) << text;
  }
}

// sha256("A B"), where A and B are written as digests.
TEST(ChainId, AsTheImageSpecificationSays) {
  const Digest a = Digest::Of("a");
  const Digest b = Digest::Of("b");
  const Digest c = Digest::Of("c");
  const auto chain = ChainIds(std::vector{a, b, c});
  ASSERT_EQ(chain.size(), 3u);
  EXPECT_EQ(chain[0], a);
  EXPECT_EQ(chain[1].ToString(),
            "sha256:51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676");
  EXPECT_EQ(chain[2], Digest::Of(chain[1].ToString() + " " + c.ToString()));
  EXPECT_TRUE(ChainIds({}).empty());
}

}  // namespace
}  // namespace hearth::oci
