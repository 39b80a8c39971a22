// IDs that Dragonfly's own tests, its end-to-end runs and real clients gave.
#include "oci/task_id.h"

#include <gtest/gtest.h>

namespace hearth::oci {
namespace {

using enum TaskIdScheme;

struct Vector {
  TaskIdScheme scheme;
  TaskIdInput input;
  std::string id;
};

TaskIdInput Url(std::string url) {
  TaskIdInput input;
  input.url = std::move(url);
  return input;
}

// Builds an input in the order in which the tables below name the parts.
struct With {
  TaskIdInput input;
  explicit With(std::string url) : input(Url(std::move(url))) {}
  With& Digest(std::string value) { return input.digest = std::move(value), *this; }
  With& Tag(std::string value) { return input.tag = std::move(value), *this; }
  With& App(std::string value) { return input.application = std::move(value), *this; }
  With& Revision(std::string value) { return input.revision = std::move(value), *this; }
  With& Range(std::string value) { return input.range = std::move(value), *this; }
  With& Piece(uint64_t value) { return input.piece_length = value, *this; }
  With& Filter(std::vector<std::string> value) {
    return input.filtered_query_params = std::move(value), *this;
  }
  operator TaskIdInput() const { return input; }  // NOLINT: implicit for the tables
};

const std::string kSite = "https://example.com";
const std::string kSiteQuery = "https://example.com?foo=foo&bar=bar";
const std::string kD = "sha256:c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4";
const std::string kBusybox =
    "https://ghcr.io/v2/dragonflyoss/busybox/blobs/sha256:"
    "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8";
const std::string kLab =
    "http://10.77.0.10:5000/v2/lab/small/blobs/sha256:"
    "335c241fe16d3ad03e58b6c9972e97cf9cb82c82e24d411dbc96f777a63886c8";

void Check(const std::vector<Vector>& vectors) {
  for (const Vector& v : vectors) {
    const auto id = TaskId(v.scheme, v.input);
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_EQ(*id, v.id) << TaskIdSchemeName(v.scheme) << " " << v.input.url << " tag "
                         << v.input.tag << " application " << v.input.application;
  }
}

TEST(TaskId, GoV1) {
  Check({
      {kV1, With(kSite).Filter({}),
       "100680ad546ce6a577f42f52df33b4cfdca756859e664b8d7de329b150d09ce9"},
      {kV1, With(kSite).Digest("bar").Range("foo"),
       "aeee0e0a2a0c75130582641353c539aaf9011a0088b31347f7588e70e449a3e0"},
      // ParentTaskIDV1: the same without the range.
      {kV1, With(kSite).Digest("bar"),
       "63dee2822037636b0109876b58e95692233840753a882afa69b9b5ee82a6c57d"},
      {kV1, With(kSite).Tag("foo"),
       "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b"},
      {kV1, With(kSiteQuery).Filter({"foo", "bar"}).Tag("foo"),
       "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b"},
      {kV1, With(kBusybox), "50f91088cd60a49bf565396c1f7ba1f8b9d32c9f1541d2e06b085c780030805a"},
      {kV1, With(kBusybox + "?ns=ghcr.io").Filter({}),
       "59f93e56293bcad3529cfe9131355f49c4af6fe548df20bdcc1e1a61062c5e2e"},
  });
}

TEST(TaskId, GoV2WithPieceLengthAlways) {
  Check({
      {kV2_1, With(kSite).Digest(kD).Tag("foo").App("bar").Piece(1),
       "6acf73532a2e7b8c30dfc7abce2fd7d2a2cd3746f16b0d54d3e2f136ffa61c90"},
      {kV2_1, With(kSite).Digest(kD),
       "b08a435da662ad5ae8ab8359a9c4ebd5027cf14d04b71ccc85f1e197e898adbd"},
      {kV2_1, With(kSite).Tag("foo"),
       "274c3716c538b5a49e7296ee36dd412bae29948dfb6153e5ac9694e382144f83"},
      {kV2_1, With(kSite).App("bar"),
       "ca12c6591c38f726c238f35d9c7945559b52a0dcc10ae191920be6f5f8a0326a"},
      {kV2_1, With(kSite).Piece(1),
       "614fb0088e7d82b2538f1ccb5861db5940aaa665b587792898e4be1f591bafec"},
      {kV2_1, With(kSiteQuery).Filter({"foo", "bar"}),
       "4a89bbe790108d4987e7dc5127df2b99aea1c17828f1ff3e55176f49ac974b28"},
      {kV2_1, With(kBusybox).Piece(4194304),
       "55e0c49de3ac0f86943fb386fa02a891a2ff1ce447ef5fd0eabd57390d98dc53"},
      {kV2_1, With(kBusybox), "393e956f22ba2e3fc862cf6a76b50bf5ed5fed847159554bcea2294de412a855"},
  });
}

TEST(TaskId, GoV2WithoutPieceLength) {
  Check({
      {kV2_1_55, With(kSite).Digest(kD).Tag("foo").App("bar"),
       "c8659b8372599cf22c7a2de260dd6e148fca6d4e1c2940703022867f739d071d"},
      {kV2_1_55, With(kSite).Digest(kD).Piece(1),
       "60469c583429af631a45540f05e08805b31ca4f84e7974cad35cfc84c197bcf8"},
      {kV2_1_55, With(kSite).Tag("foo"),
       "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b"},
      {kV2_1_55, With(kSite).App("bar"),
       "63dee2822037636b0109876b58e95692233840753a882afa69b9b5ee82a6c57d"},
      {kV2_1_55, With(kSiteQuery).Filter({"foo", "bar"}),
       "100680ad546ce6a577f42f52df33b4cfdca756859e664b8d7de329b150d09ce9"},
      {kV2_1_62, With(kSite).Tag("foo").App("bar").Digest(kD).Piece(1),
       "160fa7f001d9d2e893130894fbb60a5fb006e1d61bff82955f2946582bc9de1d"},
      {kV2_3, With(kSite).Piece(1024).Tag("foo").App("bar").Revision("v1.0"),
       "27554d06dfc788c2c2c60e01960152ffbd4b145fc103fcb80b432b4dc238a6fe"},
  });
}

// The formula is one; the URLs are such that both normalisations agree.
TEST(TaskId, CurrentV2) {
  for (const TaskIdScheme scheme : {kV2_4, kV2_5}) {
    Check({
        {scheme, With(kSite).Piece(1024).Tag("foo").App("bar").Revision("v1.0"),
         "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f"},
        {scheme, With(kSite).Tag("foo").App("bar"),
         "06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca"},
        {scheme, With(kSite).Tag("foo"),
         "3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a"},
        {scheme, With(kSite).App("bar"),
         "c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2"},
        {scheme, With(kSite).Piece(1024),
         "9f7c9aafbc6f30f8f41a96ca77eeae80c5b60964b3034b0ee43ccf7b2f9e52b8"},
        {scheme, With(kSiteQuery).Filter({"foo", "bar"}),
         "457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776"},
        {scheme, With(kSite).Revision("v1.0"),
         "b171331534b80e0bf91da38ebbfcdbf4d177898f4b9beac44f14733e3f004d4e"},
        {scheme, With(kBusybox).Piece(4194304),
         "eca2afe48461e6946061df919bdecad4bab128cc9e661749a82f09f0f471a63e"},
        {scheme, With(kBusybox + "?ns=ghcr.io").Filter({}),
         "9f8aa14e8a36d4ff1019e6cd4d207477e049e6a32595b8db967951f96295b1d8"},
    });
  }
  EXPECT_EQ(TaskIdOfContent("This is a test file"),
            "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249");
}

TEST(TaskId, SidesThatOrderParametersDifferently) {
  const TaskIdInput input = With("https://example.com?b=2&a=1").Filter({"x"});
  const std::string sorted = "8c45ced5621047957bd7b04e0b27c4d5875816752b5e8b77f77805fb61863bc2";
  Check({{kV2_3, input, sorted},
         {kV2_5, input, sorted},
         {kV2_4, input, "d80bd5aad958b71c7c650a8b91e854ac9ba0a4d1b2181ed391b24aa6629597a6"}});
}

TEST(TaskId, PreheatsOfDragonflysEndToEndTests) {
  const auto blob = [](std::string repository, const std::string& hex) {
    return With("https://ghcr.io/v2/dragonflyoss/" + repository + "/blobs/sha256:" + hex);
  };
  for (const TaskIdScheme scheme : {kV2_3, kV2_4, kV2_5}) {
    Check({
        {scheme,
         blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8"),
         "a5040eb77de7f771cb3ce3ecb2ebb61af124d3341e0b5c6854b7e220eb0dc680"},
        {scheme,
         blob("busybox", "f643e116a03d9604c344edb345d7592c48cc00f2a4848aaf773411f4fb30d2f5"),
         "f9f24ea0c08c3637d2d5770fbf80a201f69482226de7cf4490bb1c540ac51b37"},
        {scheme,
         blob("scheduler", "f1f1039835051ecc04909f939530e86a20f02d2ce5ad7a81c0fa3616f7303944"),
         "d4d951a403de1bffc916f99da4c2240a9d059ebb77d3a72f9aff717fc79ecdc1"},
        {scheme,
         blob("scheduler", "871ab018db94b4ae7b137764837bc4504393a60656ba187189e985cd809064f7"),
         "7de709bb37831ab4765124d9ba99e4875292eb64316dbf1a35ddc9fb93bd1f34"},
        {scheme,
         blob("scheduler", "f1a1d290795d904815786e41d39a41dc1af5de68a9e9020baba8bd83b32d8f95"),
         "978cf50feb0176010e9a06fdad59b70527ec113b8c9f55ec0c90e662778711d2"},
        {scheme,
         blob("scheduler", "f1ffc4b5459e82dc8e7ddd1d1a2ec469e85a1f076090c22851a1f2ce6f71e1a6"),
         "ce58246d09c169d4c1aa8d8c6bf759cfeed9f7641488888610685e19a75fab56"},
    });
  }
}

TEST(TaskId, MeasuredOnClient1510) {
  const std::string plain = "b9f0793c4f9438971149c22d259367b8db9eae06004752eab4b523424a2fcec7";
  Check({
      {kV2_5, With(kLab), plain},
      {kV2_5, With(kLab + "?ns=docker.io"), plain},
      {kV2_5, With("HTTP" + kLab.substr(4)), plain},
      {kV2_5, With("http://10.77.0.10:5000/v2/lab/." + kLab.substr(kLab.find("/small"))), plain},
      {kV2_5, With(kLab).Tag("foo"),
       "71b71b0647f41419010b9f5ccd56cf93ccf03b671dbc7f4ae9d3ca6053829e7b"},
      {kV2_5, With(kLab).App("bar"),
       "3569737943417346ea5846d7fc33284934ebd65dd8f0293a4b7e031dbe8eef54"},
      {kV2_5, With(kLab).Tag("foo").App("bar"),
       "6e6a2d3858ba4efea574c09a61af106e16695c3d6efbd5bbf5ade36eaa83ed41"},
      {kV2_5, With(kLab).Piece(4194304),
       "749f15d33f1087eadb3721c626c74658cdd8ec3e9c31eebe9c896c1e2350ff81"},
      {kV2_5, With(kLab).Piece(8388608),
       "005fe4c5d0983550e7d89d2bda8bc76b8393f7511db9b1be108b7889c31833bb"},
      {kV2_5, With(kLab).Tag("foo").App("bar").Piece(8388608),
       "a5d2d9da0ef8b378bf2212917aff0bf8b491d77337a010f014607489426293d6"},
      {kV2_5, With(kLab + "?X-Amz-Signature=1&y=2"),
       "50ebba981b2747ab58940ce86f046ae36dcfed65fbf6a9e9aa33845fa5726529"},
      {kV2_5, With(kLab + "?foo=1&bar=2&c=3").Filter({"foo", "bar"}),
       "6ecd71b5dfd7324b197952658054dbb09fa301d8b4f4b028ef9c4d7f5807d8eb"},
      {kV2_5, With(kLab + "?ns=docker.io&foo=1").Filter({"foo"}),
       "b92193e5426ed05ef8c38903c11a2ed72c7d41b6a065edb3cae80e7b883caf77"},
      {kV2_5, With(kLab + "?b=2&a=1"),
       "1c11a7e0f607375c4504039e0a6513f9532d24921cc7b37af80aaf4d58c9af5b"},
      {kV2_5, With(kLab + "?q=a%20b~*"),
       "860161f4b23418a74eb516089d7e6f2fc1e73936226591b7d0462f5defbed394"},
  });
  EXPECT_EQ(*TaskIdOfBlobUrl(kLab),
            "335c241fe16d3ad03e58b6c9972e97cf9cb82c82e24d411dbc96f777a63886c8");
  EXPECT_EQ(TaskIdOfContent("X"),
            "4b68ab3847feda7d6c62c1fbcbeebfa35eab7351ed5e78f4ddadea5df64b8015");
}

TEST(TaskId, BlobUrls) {
  const std::string hex = "b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e";
  const std::string base = "http://registry.example.com/v2/";
  EXPECT_EQ(*TaskIdOfBlobUrl(base + "library/ubuntu/blobs/sha256:" + hex), hex);
  EXPECT_EQ(*TaskIdOfBlobUrl(base + "library/ubuntu/blobs/sha256:" + hex + "?ns=docker.io"), hex);
  EXPECT_EQ(*TaskIdOfBlobUrl(base + "myorg/myrepo/blobs/sha512:" + hex + hex), hex + hex);
  for (const std::string& url : {
           base + "library/ubuntu/manifests/latest",
           base + "library/ubuntu/blobs/sha256:abc",
           base + "library/ubuntu/blobs/md5:" + hex.substr(0, 32),
           base + "blobs/sha256:" + hex,
           "registry.example.com/v2/library/ubuntu/blobs/sha256:" + hex,
           base + "library/ubuntu/blobs/" + hex,
           std::string(),
       }) {
    EXPECT_EQ(TaskIdOfBlobUrl(url).status().code(), StatusCode::kInvalidArgument) << url;
  }
}

TEST(TaskId, SchemeNames) {
  for (const TaskIdScheme scheme : kTaskIdSchemes) {
    EXPECT_EQ(*ParseTaskIdScheme(TaskIdSchemeName(scheme)), scheme);
  }
  const Status status = ParseTaskIdScheme("v3").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("v2.1.55"), std::string::npos);
}

TEST(TaskId, BadUrlsAreErrorsNotIds) {
  for (const TaskIdScheme scheme : kTaskIdSchemes) {
    EXPECT_EQ(TaskId(scheme, Url("")).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(TaskId(scheme, Url("http://host:port/x")).status().code(),
              StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace hearth::oci
