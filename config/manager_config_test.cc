#include "config/manager_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace hearth::config {
namespace {

using testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const auto config = ParseManagerConfig(text, "manager.toml", {});
  return config.ok() ? "(no error)" : config.status().message();
}

TEST(ManagerConfig, DocumentedFileHoldsTheDefaults) {
  const auto config = ParseManagerConfig(*ReadFile("manager.toml", 1 << 20), "manager.toml", {});
  ASSERT_TRUE(config.ok()) << config.status();
  ManagerConfig expected;
  expected.clusters["default"] = {};
  EXPECT_TRUE(*config == expected);
}

TEST(ManagerConfig, ReadsEveryKindOfValue) {
  const auto config = ParseManagerConfig(R"(
root = "/srv/m"
log_level = "debug"
[api]
listen = "[::1]:0"
names = ["hearth.example.com", "10.0.0.1"]
tls_cert = "/a"
tls_key = "/b"
insecure_http = true
[grpc]
listen = "127.0.0.1:0"
[tokens]
admin_token_file = "/t"
[cluster."edge.1"]
origin = "10MB"
)",
                                         "manager.toml", {"cluster.b.origin=5"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/srv/m");
  EXPECT_EQ(config->api.names.size(), 2u);
  EXPECT_TRUE(config->api.insecure_http);
  EXPECT_EQ(config->grpc_listen, "127.0.0.1:0");
  EXPECT_EQ(config->admin_token_file, "/t");
  EXPECT_EQ(config->clusters.at("edge.1").origin, 10'000'000u);
  EXPECT_EQ(config->clusters.at("b").origin, 5u);
}

TEST(ManagerConfig, NamesWhatIsWrong) {
  EXPECT_THAT(ErrorOf("[api]\nlisen = \"a\""), HasSubstr("manager.toml:2: api.lisen"));
  EXPECT_THAT(ErrorOf("[api]\nlisen = \"a\""), HasSubstr("listen"));
  EXPECT_THAT(ErrorOf("[api]\nlisten = \"host:1\""), HasSubstr("api.listen"));
  EXPECT_THAT(ErrorOf("[api]\ntls_cert = \"/a\""), HasSubstr("go together"));
  EXPECT_THAT(ErrorOf("[api]\nnames = [\"a b\"]"), HasSubstr("api.names"));
  EXPECT_THAT(ErrorOf("root = \"x\""), HasSubstr("absolute"));
  EXPECT_THAT(ErrorOf("[cluster.\"a b\"]\norigin = \"1\""), HasSubstr("cluster"));
  EXPECT_THAT(ErrorOf("[cluster.a]\norigins = \"1\""), HasSubstr("origins"));
  EXPECT_THAT(ErrorOf("[store]\nkind = \"etcd\""), HasSubstr("store"));
}

TEST(ManagerConfig, SaysWhatNeedsARestart) {
  const ManagerConfig before;
  ManagerConfig after;
  after.clusters["default"].origin = 1;
  after.log_level = LogLevel::kDebug;
  EXPECT_TRUE(RestartKeys(before, after).empty());
  after.api.listen = "127.0.0.1:1";
  EXPECT_EQ(RestartKeys(before, after), std::vector<std::string>{"api"});
}

}  // namespace
}  // namespace hearth::config
