#include "config/changed_keys.h"

#include <gtest/gtest.h>

namespace hearth::config {
namespace {

using Keys = std::vector<std::string>;

NodeConfig Parse(const std::string& text) {
  auto config = ParseNodeConfig(text, "t", {});
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : NodeConfig{};
}

TEST(ChangedKeysTest, NothingChangedIsNothing) {
  const auto changed = ChangedKeys::Of(Parse(""), Parse("log_level = \"info\""));
  EXPECT_EQ(changed.live, Keys{});
  EXPECT_EQ(changed.restart, Keys{});
}

TEST(ChangedKeysTest, TellsWhatIsLiveFromWhatNeedsARestart) {
  const auto changed = ChangedKeys::Of(
      Parse(""), Parse("log_level = \"debug\"\nrun = \"/run/h\"\n[status]\nlisten = "
                       "\"127.0.0.1:1\"\n[registry.\"a.example\"]\nplain_http = true\n"));
  EXPECT_EQ(changed.live, (Keys{"log_level", "registry"}));
  EXPECT_EQ(changed.restart, (Keys{"run", "status.listen"}));
}

// So that a new key is not forgotten here.
TEST(ChangedKeysTest, EveryTopKeyIsKnown) {
  NodeConfig changed;
  changed.root = "/x";
  changed.run = "/y";
  changed.memory_limit_bytes = 1;
  changed.name = "n";
  changed.egress_allow = {"10.0.0.0/8"};
  changed.labels = {{"a", "b"}};
  changed.containerd.address = "";
  changed.mirror.serve_stale_tags = true;
  changed.proxy.default_filter = "a";
  changed.status_listen = "127.0.0.1:1";
  changed.peer.advertise = "h";
  changed.manager.cluster = "c";
  changed.store.quota = SpaceAmount::Percent(1);
  changed.limits.upload = 1;
  changed.registries["r"] = {};
  changed.log_level = LogLevel::kDebug;
  const auto keys = ChangedKeys::Of({}, changed);
  EXPECT_EQ(keys.live.size() + keys.restart.size(), 16U);
}

}  // namespace
}  // namespace hearth::config
