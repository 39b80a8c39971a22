#include "config/node_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "config/toml_section.h"

namespace hearth::config {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

Result<NodeConfig> Parse(std::string_view text, const std::vector<std::string>& sets = {}) {
  return ParseNodeConfig(text, "node.toml", sets);
}

std::string ErrorOf(std::string_view text, const std::vector<std::string>& sets = {}) {
  const Result<NodeConfig> config = Parse(text, sets);
  return config.ok() ? "(no error)" : config.status().message();
}

TEST(NodeConfig, DocumentedFileHoldsTheDefaults) {
  const Result<std::string> text = ReadFile("node.toml", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  const Result<NodeConfig> config = Parse(*text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(*config == NodeConfig());
}

TEST(NodeConfig, DocumentedFileNamesEveryKey) {
  const std::string text = *ReadFile("node.toml", 1 << 20);
  for (const char* key : {"root",           "run",         "memory_limit",     "name",
                          "egress_allow",   "labels",      "address",          "namespace",
                          "prepare_wait",   "listen",      "serve_stale_tags", "auth_cache",
                          "default_filter", "offline",     "data_listen",      "control_listen",
                          "advertise",      "addresses",   "cluster",          "join_token_file",
                          "quota",          "min_free",    "min_free_inodes",  "upload",
                          "uploads",        "download",    "origin",           "# plain_http",
                          "# ca_file",      "# endpoints", "# docker_config",  "# shared",
                          "# private"}) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(key) + " = ")) << key;
  }
}

TEST(NodeConfig, DocumentedRegistryTableHoldsTheDefaults) {
  const Result<NodeConfig> config = Parse(R"([registry."registry.example.com:5000"]
ca_file = ""
endpoints = []
docker_config = ""
shared = false
private = "")");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->registries.at("registry.example.com:5000") == RegistryConfig());
}

TEST(NodeConfig, ReadsEveryKindOfValue) {
  const Result<NodeConfig> config = Parse(R"(
root = "/srv/hearth"
memory_limit = "1GiB"
egress_allow = ["10.0.0.0/8", "fd00::/8"]
labels = { zone = "a" }
[containerd]
prepare_wait = "250ms"
[registry."r.example:5000"]
plain_http = true
private = "strict"
[registry.plain]
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/srv/hearth");
  EXPECT_EQ(config->memory_limit_bytes, 1u << 30);
  EXPECT_EQ(config->egress_allow.size(), 2u);
  EXPECT_EQ(config->labels.at("zone"), "a");
  EXPECT_EQ(config->containerd.prepare_wait, milliseconds(250));
  EXPECT_EQ(config->registries.at("r.example:5000").plain_http, true);
  EXPECT_TRUE(config->registries.at("r.example:5000").private_strict);
  EXPECT_EQ(config->registries.at("plain").plain_http, std::nullopt);
}

TEST(NodeConfig, EachNameOfTheHubIsOneTable) {
  for (const char* name : {"docker.io", "index.docker.io", "registry-1.docker.io"}) {
    const auto config = Parse("[registry.\"" + std::string(name) + "\"]\nshared = true");
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->registries.at("docker.io").shared) << name;
  }
}

TEST(NodeConfig, UnknownKeyNamesFileLineAndNearestKey) {
  EXPECT_EQ(ErrorOf("[mirror]\nlistn = \"127.0.0.1:1\""),
            "node.toml:2: mirror.listn: unknown key (did you mean \"listen\"?)");
  EXPECT_EQ(ErrorOf("[mirrors]\nlisten = \"127.0.0.1:1\""),
            "node.toml:1: mirrors: unknown key (did you mean \"mirror\"?)");
  EXPECT_EQ(
      ErrorOf("[store]\ncolour = 1"),
      "node.toml:2: store.colour: unknown key (known here: min_free, min_free_inodes, quota)");
  EXPECT_EQ(ErrorOf("[registry.\"a:1\"]\nplainhttp = true"),
            "node.toml:2: registry.\"a:1\".plainhttp: unknown key "
            "(did you mean \"plain_http\"?)");
}

TEST(NodeConfig, BadValuesSayKeyAndReason) {
  const struct {
    const char* text;
    const char* place;
    const char* why;
  } cases[] = {
      {"root = \"relative\"", "node.toml:1: root: ", "absolute path"},
      {"root = 5", "node.toml:1: root: ", "must be a text in quotes, not a whole number"},
      {"run = "
       "\"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
       "aaaaaaaaaaa\"",
       "run: ", "longer than 90 bytes"},
      {"memory_limit = \"1MiB\"", "memory_limit: ", "at least 64"},
      {"memory_limit = \"many\"", "memory_limit: \"many\"", ""},
      {"egress_allow = [\"10.0.0.0\"]", "egress_allow: ", "is no network"},
      {"labels = 3", "labels: ", "table of texts"},
      {"containerd = 3", "containerd: ", "must be a table"},
      {"[containerd]\nprepare_wait = \"5m\"", "node.toml:2: containerd.prepare_wait",
       "at most 30s"},
      {"[mirror]\nlisten = \"0.0.0.0:7733\"", "mirror.listen", "loopback"},
      {"[mirror]\nlisten = \"localhost:7733\"", "mirror.listen", "IP address"},
      {"[mirror]\nlisten = \"127.0.0.1:99999\"", "mirror.listen", "0 (any free one) to 65535"},
      {"[mirror]\nserve_stale_tags = \"yes\"", "mirror.serve_stale_tags", "true or false"},
      {"[mirror]\nauth_cache = \"25h\"", "mirror.auth_cache", "at most 24h"},
      {"[[proxy.rule]]\nmatch = \"(\"", "proxy.rule[0].match", "regular expression"},
      {"[limits]\nuploads = 0", "limits.uploads", "from 1 to 1024"},
      {"[store]\nquota = \"120%\"", "store.quota", "0% to 100%"},
      {"[registry.a]\nendpoints = [\"m\"]", "registry.a.endpoints", "https://"},
      {"[registry.a]\nprivate = \"no\"", "registry.a.private", "must be one of"},
      {"[registry.\"docker.io\"]\n[registry.\"index.docker.io\"]", "index.docker.io",
       "one registry"},
      {"a = ", "node.toml:1: not TOML", ""},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(ErrorOf(test.text), HasSubstr(test.place)) << test.text;
    EXPECT_THAT(ErrorOf(test.text), HasSubstr(test.why)) << test.text;
  }
}

TEST(NodeConfig, ClusterAndLimits) {
  const auto config = Parse(R"(
[peer]
data_listen = "10.0.0.1:0"
advertise = "node-a.example.com"
[manager]
addresses = ["m1:7781", "[fd00::1]:7781"]
cluster = "lab-1"
join_token_file = "/etc/hearth/join-token"
[limits]
upload = "1MiB"
uploads = 3
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->manager.addresses.size(), 2u);
  EXPECT_EQ(config->peer.advertise, "node-a.example.com");
  EXPECT_EQ(config->limits.upload, 1u << 20);
  EXPECT_THAT(ErrorOf("[manager]\naddresses = [\"m\"]"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(ErrorOf("[manager]\ncluster = \"a b\""), HasSubstr("manager.cluster"));
  EXPECT_THAT(ErrorOf("[peer]\nadvertise = \"http://x\""), HasSubstr("peer.advertise"));
}

TEST(NodeConfig, SetsLieOverTheFile) {
  const Result<NodeConfig> config =
      Parse("root = \"/a\"\n[mirror]\nserve_stale_tags = true",
            {"root=/b", "mirror.listen=127.0.0.1:0", "memory_limit=256MiB",
             "registry.\"127.0.0.1:5000\".plain_http=true", "labels={ zone = \"z\" }",
             "containerd.address=", "store.min_free=0", "registry.\"a=b\".ca_file=/x=y"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->root, "/b");
  EXPECT_EQ(config->mirror.listen, "127.0.0.1:0");
  EXPECT_TRUE(config->mirror.serve_stale_tags);
  EXPECT_EQ(config->memory_limit_bytes, 256u << 20);
  EXPECT_EQ(config->registries.at("127.0.0.1:5000").plain_http, true);
  EXPECT_EQ(config->labels.at("zone"), "z");
  EXPECT_EQ(config->containerd.address, "");
  EXPECT_EQ(config->registries.at("a=b").ca_file, "/x=y");
}

TEST(NodeConfig, BadSetsNameThemselves) {
  EXPECT_THAT(ErrorOf("", {"mirror.listen"}), HasSubstr("--set mirror.listen: no value"));
  EXPECT_EQ(ErrorOf("", {"mirror.lisen=127.0.0.1:0"}),
            "--set: mirror.lisen: unknown key (did you mean \"listen\"?)");
  EXPECT_THAT(ErrorOf("", {"a b=1"}), HasSubstr("bad key"));
  EXPECT_THAT(ErrorOf("\n\nroot = \"/a\"", {"root=5"}), HasSubstr("--set: root: must be a text"));
  EXPECT_THAT(ErrorOf("", {"run=/x\nroot=/y"}), HasSubstr("(no error)"));
}

TEST(NodeConfig, MissingFileSaysWhich) {
  const Result<NodeConfig> config = LoadNodeConfig("/nonexistent/node.toml", {});
  ASSERT_FALSE(config.ok());
  EXPECT_THAT(config.status().message(), HasSubstr("/nonexistent/node.toml"));
  EXPECT_THAT(config.status().message(), HasSubstr("--config"));
}

TEST(NodeConfig, InodesAreAShareOrANumber) {
  EXPECT_EQ(Parse("[store]\nmin_free_inodes = \"25%\"")->store.min_free_inodes.Of(1000), 250u);
  EXPECT_EQ(Parse("[store]\nmin_free_inodes = \"5000\"")->store.min_free_inodes.Of(9), 5000u);
  EXPECT_EQ(Parse("[store]\nmin_free_inodes = \"0\"")->store.min_free_inodes.Of(1000), 0u);
  for (const char* bad : {"1MiB", "x", "101%", "-1"}) {
    const auto config = Parse("[store]\nmin_free_inodes = \"" + std::string(bad) + "\"");
    EXPECT_THAT(config.status().message(), HasSubstr("min_free_inodes")) << bad;
  }
}

TEST(SpaceAmount, ParsesPercentAndBytes) {
  EXPECT_EQ(SpaceAmount::Parse("50%")->Of(200), 100u);
  EXPECT_EQ(SpaceAmount::Parse("10KiB")->Of(200), 10240u);
  EXPECT_FALSE(SpaceAmount::Parse("x%").ok());
}

}  // namespace
}  // namespace hearth::config
