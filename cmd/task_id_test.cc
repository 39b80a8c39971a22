#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cmd/commands.h"

namespace hearth::cmd {
namespace {

using testing::HasSubstr;

TEST(RunTaskId, PrintsEverySchemeAsJson) {
  Common common;
  common.json = true;
  TaskIdArgs args;
  args.urls = {"https://example.com?foo=foo&bar=bar"};
  args.filter = "foo&bar";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTaskId(common, args), kDone);
  const auto out = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  const auto& tasks = out["urls"][0]["tasks"];
  ASSERT_EQ(tasks.size(), 7u);
  EXPECT_EQ(tasks[1]["scheme"], "v2.1");
  EXPECT_EQ(tasks[1]["hashed_url"], "https://example.com");
  EXPECT_EQ(tasks[1]["task_id"],
            "4a89bbe790108d4987e7dc5127df2b99aea1c17828f1ff3e55176f49ac974b28");
  EXPECT_TRUE(out["urls"][0]["blob_task_id"].is_null());
}

TEST(RunTaskId, OneSchemeIsOneLine) {
  TaskIdArgs args;
  args.urls = {"https://example.com"};
  args.tag = "foo";
  args.scheme = "v1";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTaskId(Common(), args), kDone);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b\n");
}

// Through the command: every ID that the reference gives in full, and what makes it.
struct Row {
  std::string scheme;
  TaskIdArgs args;
  std::string id;
};

TaskIdArgs Of(const std::string& url) {
  TaskIdArgs args;
  args.urls = {url};
  return args;
}

std::string Printed(TaskIdArgs args, const std::string& scheme) {
  args.scheme = scheme;
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTaskId(Common(), args), kDone);
  return testing::internal::GetCapturedStdout();
}

constexpr char kSite[] = "https://example.com";
constexpr char kDigest[] =
    "sha256:c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4";

std::string Blob(const std::string& name, const std::string& hex) {
  return "https://ghcr.io/v2/dragonflyoss/" + name + "/blobs/sha256:" + hex;
}

// Parts as the reference names them: d(igest), t(ag), a(pplication), r(evision), n (range), g
// (region), e(ndpoint), f(ilter), p(iece length).
Row Make(const std::string& scheme, const std::string& id, const std::string& url,
         const std::map<char, std::string>& parts = {}) {
  Row row{scheme, Of(url), id};
  for (const auto& [part, value] : parts) {
    if (part == 'd') row.args.digest = value;
    if (part == 't') row.args.tag = value;
    if (part == 'a') row.args.application = value;
    if (part == 'r') row.args.revision = value;
    if (part == 'n') row.args.range = value;
    if (part == 'g') row.args.region = value;
    if (part == 'e') row.args.endpoint = value;
    if (part == 'f') row.args.filter = value;
    if (part == 'p') row.args.piece_length = std::stoull(value);
  }
  return row;
}

std::vector<Row> Rows() {
  return {
      Make("v1", "100680ad546ce6a577f42f52df33b4cfdca756859e664b8d7de329b150d09ce9", kSite,
           {{'f', ""}}),
      Make("v1", "aeee0e0a2a0c75130582641353c539aaf9011a0088b31347f7588e70e449a3e0", kSite,
           {{'d', "bar"}, {'n', "foo"}}),
      Make("v1", "63dee2822037636b0109876b58e95692233840753a882afa69b9b5ee82a6c57d", kSite,
           {{'d', "bar"}}),
      Make("v1", "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b", kSite,
           {{'t', "foo"}}),
      Make("v1", "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b",
           "https://example.com?foo=foo&bar=bar", {{'f', "foo&bar"}, {'t', "foo"}}),
      Make("v2.4", "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f", kSite,
           {{'p', "1024"}, {'t', "foo"}, {'a', "bar"}, {'r', "v1.0"}}),
      Make("v2.4", "06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca", kSite,
           {{'t', "foo"}, {'a', "bar"}}),
      Make("v2.4", "3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a", kSite,
           {{'t', "foo"}}),
      Make("v2.4", "c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2", kSite,
           {{'a', "bar"}}),
      Make("v2.4", "9f7c9aafbc6f30f8f41a96ca77eeae80c5b60964b3034b0ee43ccf7b2f9e52b8", kSite,
           {{'p', "1024"}}),
      Make("v2.4", "457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776",
           "https://example.com?foo=foo&bar=bar", {{'f', "foo&bar"}}),
      Make("v2.4", "b171331534b80e0bf91da38ebbfcdbf4d177898f4b9beac44f14733e3f004d4e", kSite,
           {{'r', "v1.0"}}),
      Make("v2.5", "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f", kSite,
           {{'p', "1024"}, {'t', "foo"}, {'a', "bar"}, {'r', "v1.0"}}),
      Make("v2.5", "06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca", kSite,
           {{'t', "foo"}, {'a', "bar"}}),
      Make("v2.5", "3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a", kSite,
           {{'t', "foo"}}),
      Make("v2.5", "c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2", kSite,
           {{'a', "bar"}}),
      Make("v2.5", "9f7c9aafbc6f30f8f41a96ca77eeae80c5b60964b3034b0ee43ccf7b2f9e52b8", kSite,
           {{'p', "1024"}}),
      Make("v2.5", "457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776",
           "https://example.com?foo=foo&bar=bar", {{'f', "foo&bar"}}),
      Make("v2.5", "b171331534b80e0bf91da38ebbfcdbf4d177898f4b9beac44f14733e3f004d4e", kSite,
           {{'r', "v1.0"}}),
      Make("content", "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249",
           "This is a test file"),
      Make("v2.3", "27554d06dfc788c2c2c60e01960152ffbd4b145fc103fcb80b432b4dc238a6fe", kSite,
           {{'p', "1024"}, {'t', "foo"}, {'a', "bar"}}),
      Make("persistent", "b51f4f44921bb585277a5cbac13e7f6e2858238e98546f3ee6bfeb56369979c0",
           "my-object-key", {{'g', "us-west-1"}, {'e', "https://s3.us-west-1.amazonaws.com"}}),
      Make("persistent-cache", "7160a071a9acea5ac341e770c14d0211c38a4b15b3bbe2c5f848a706fd47419e",
           "This is a test file", {{'p', "1024"}, {'t', "tag1"}, {'a', "app1"}}),
      Make("persistent-cache", "0d0f8536f51227fda07141308f5ae8149b561b51b61c6517125f25dfa27acf5b",
           "This is a test file", {{'a', "app1"}}),
      Make("persistent-cache", "a98b76813681e30cf83733fe055792b86393bba6f18e3d89fd8c18253922d992",
           "This is a test file", {{'t', "tag1"}}),
      Make("persistent-cache", "e894374a39e39cfa78c409cac02f2cdbb5605a24f5ff55c7bc2b624877556c03",
           "This is a test file", {{'p', "1024"}}),
      Make("v2.1", "6acf73532a2e7b8c30dfc7abce2fd7d2a2cd3746f16b0d54d3e2f136ffa61c90", kSite,
           {{'d', kDigest}, {'t', "foo"}, {'a', "bar"}, {'p', "1"}}),
      Make("v2.1", "b08a435da662ad5ae8ab8359a9c4ebd5027cf14d04b71ccc85f1e197e898adbd", kSite,
           {{'d', kDigest}}),
      Make("v2.1", "274c3716c538b5a49e7296ee36dd412bae29948dfb6153e5ac9694e382144f83", kSite,
           {{'t', "foo"}}),
      Make("v2.1", "ca12c6591c38f726c238f35d9c7945559b52a0dcc10ae191920be6f5f8a0326a", kSite,
           {{'a', "bar"}}),
      Make("v2.1", "614fb0088e7d82b2538f1ccb5861db5940aaa665b587792898e4be1f591bafec", kSite,
           {{'p', "1"}}),
      Make("v2.1", "4a89bbe790108d4987e7dc5127df2b99aea1c17828f1ff3e55176f49ac974b28",
           "https://example.com?foo=foo&bar=bar", {{'f', "foo&bar"}}),
      Make("v2.1.55", "c8659b8372599cf22c7a2de260dd6e148fca6d4e1c2940703022867f739d071d", kSite,
           {{'d', kDigest}, {'t', "foo"}, {'a', "bar"}}),
      Make("v2.1.55", "60469c583429af631a45540f05e08805b31ca4f84e7974cad35cfc84c197bcf8", kSite,
           {{'d', kDigest}}),
      Make("v2.1.55", "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b", kSite,
           {{'t', "foo"}}),
      Make("v2.1.55", "63dee2822037636b0109876b58e95692233840753a882afa69b9b5ee82a6c57d", kSite,
           {{'a', "bar"}}),
      Make("v2.1.55", "100680ad546ce6a577f42f52df33b4cfdca756859e664b8d7de329b150d09ce9",
           "https://example.com?foo=foo&bar=bar", {{'f', "foo&bar"}}),
      Make("v2.1.62", "160fa7f001d9d2e893130894fbb60a5fb006e1d61bff82955f2946582bc9de1d", kSite,
           {{'t', "foo"}, {'a', "bar"}}),
      Make("v2.5", "a5040eb77de7f771cb3ce3ecb2ebb61af124d3341e0b5c6854b7e220eb0dc680",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8")),
      Make("v2.5", "f9f24ea0c08c3637d2d5770fbf80a201f69482226de7cf4490bb1c540ac51b37",
           Blob("busybox", "f643e116a03d9604c344edb345d7592c48cc00f2a4848aaf773411f4fb30d2f5")),
      Make("v2.5", "d4d951a403de1bffc916f99da4c2240a9d059ebb77d3a72f9aff717fc79ecdc1",
           Blob("scheduler", "f1f1039835051ecc04909f939530e86a20f02d2ce5ad7a81c0fa3616f7303944")),
      Make("v2.5", "7de709bb37831ab4765124d9ba99e4875292eb64316dbf1a35ddc9fb93bd1f34",
           Blob("scheduler", "871ab018db94b4ae7b137764837bc4504393a60656ba187189e985cd809064f7")),
      Make("v2.5", "978cf50feb0176010e9a06fdad59b70527ec113b8c9f55ec0c90e662778711d2",
           Blob("scheduler", "f1a1d290795d904815786e41d39a41dc1af5de68a9e9020baba8bd83b32d8f95")),
      Make("v2.5", "ce58246d09c169d4c1aa8d8c6bf759cfeed9f7641488888610685e19a75fab56",
           Blob("scheduler", "f1ffc4b5459e82dc8e7ddd1d1a2ec469e85a1f076090c22851a1f2ce6f71e1a6")),
      Make("v2.1", "55e0c49de3ac0f86943fb386fa02a891a2ff1ce447ef5fd0eabd57390d98dc53",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8"),
           {{'p', "4194304"}}),
      Make("v2.1", "393e956f22ba2e3fc862cf6a76b50bf5ed5fed847159554bcea2294de412a855",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8")),
      Make("v1", "50f91088cd60a49bf565396c1f7ba1f8b9d32c9f1541d2e06b085c780030805a",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8")),
      Make("v1", "59f93e56293bcad3529cfe9131355f49c4af6fe548df20bdcc1e1a61062c5e2e",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8") +
               "?ns=ghcr.io",
           {{'f', ""}}),
      Make("v2.5", "eca2afe48461e6946061df919bdecad4bab128cc9e661749a82f09f0f471a63e",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8"),
           {{'p', "4194304"}}),
      Make("v2.5", "9f8aa14e8a36d4ff1019e6cd4d207477e049e6a32595b8db967951f96295b1d8",
           Blob("busybox", "a711f05d33845e2e9deffcfcc5adf082d7c6e97e3e3a881d193d9aae38f092a8") +
               "?ns=ghcr.io",
           {{'f', ""}}),
      Make("v2.3", "8c45ced5621047957bd7b04e0b27c4d5875816752b5e8b77f77805fb61863bc2",
           "https://example.com?b=2&a=1", {{'f', "x"}}),
      Make("v2.4", "d80bd5aad958b71c7c650a8b91e854ac9ba0a4d1b2181ed391b24aa6629597a6",
           "https://example.com?b=2&a=1", {{'f', "x"}}),
  };
}

TEST(RunTaskId, PrintsEveryVectorOfTheReference) {
  for (const Row& row : Rows()) {
    EXPECT_EQ(Printed(row.args, row.scheme), row.id + "\n")
        << row.scheme << " " << row.args.urls[0];
  }
}

TEST(RunTaskId, PrintsTheBlobsDigestBesideThem) {
  const std::string hex = "b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e";
  for (const char* query : {"", "?ns=docker.io"}) {
    const std::string url =
        "http://registry.example.com/v2/library/ubuntu/blobs/sha256:" + hex + query;
    EXPECT_THAT(Printed(Of(url), ""), HasSubstr("blob digest  " + hex)) << url;
  }
}

TEST(RunTaskId, WrongUse) {
  for (const auto& [url, scheme, why] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"https://h", "v9", "one of v1"},
           {"http://h:port/", "", "no valid host and port"},
           {"", "", "URL is empty"},
       }) {
    TaskIdArgs args;
    args.urls = {url};
    args.scheme = scheme;
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunTaskId(Common(), args), kWrongUse);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(why));
  }
}

}  // namespace
}  // namespace hearth::cmd
