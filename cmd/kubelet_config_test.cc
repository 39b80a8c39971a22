#include "cmd/kubelet_config.h"

#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

TEST(KubeletConfigTest, WithoutSettingsItHasKubeletsDefaults) {
  for (const char* text : {"", "# nothing\n", "kind: KubeletConfiguration\n",
                           "evictionHard: {}\nimageGCHighThresholdPercent:\n"}) {
    const auto config = KubeletConfig::Parse(text);
    ASSERT_TRUE(config.ok()) << text << config.status().message();
    EXPECT_EQ(config->images_available.Text(), "15%") << text;
    EXPECT_EQ(config->node_available.Text(), "10%") << text;
    EXPECT_EQ(config->inodes_free.Text(), "5%") << text;
    EXPECT_EQ(config->gc_high_percent, 85) << text;
  }
}

TEST(KubeletConfigTest, ThresholdNamedTurnsTheOthersOff) {
  const auto config = KubeletConfig::Parse(
      "apiVersion: kubelet.config.k8s.io/v1beta1\n"
      "evictionHard:\n  imagefs.available: 10Gi\n  memory.available: 100Mi\n"
      "imageGCHighThresholdPercent: 70\n");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->images_available.Of(1), 10737418240U);
  EXPECT_EQ(config->node_available.Of(1000), 0U);
  EXPECT_EQ(config->inodes_free.Of(1000), 0U);
  EXPECT_EQ(config->gc_high_percent, 70);

  const auto merged = KubeletConfig::Parse(
      "mergeDefaultEvictionSettings: true\nevictionHard: {\"nodefs.inodesFree\": \"7.5%\"}\n");
  ASSERT_TRUE(merged.ok()) << merged.status().message();
  EXPECT_EQ(merged->images_available.Text(), "15%");
  EXPECT_EQ(merged->inodes_free.Of(1000), 75U);
}

TEST(KubeletConfigTest, QuantitiesAsKubernetesWritesThem) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},      {"1024", 1024},
                                                    {"1k", 1000},  {"1.5Gi", 1610612736},
                                                    {"1e3", 1000}, {"2Ti", 2ULL << 40}};
  for (const auto& [text, bytes] : cases) {
    const auto config =
        KubeletConfig::Parse("evictionHard: {imagefs.available: \"" + std::string(text) + "\"}");
    ASSERT_TRUE(config.ok()) << text << config.status().message();
    EXPECT_EQ(config->images_available.Of(7), bytes) << text;
  }
}

TEST(KubeletConfigTest, SaysWhatItCannotRead) {
  for (const char* text :
       {"[1, 2]", "evictionHard: {imagefs.available: lots}",
        "evictionHard: {imagefs.available: -1}", "evictionHard: {imagefs.available: 101%}",
        "evictionHard: {imagefs.available: 1e300}", "evictionHard: {imagefs.available: [1]}",
        "imageGCHighThresholdPercent: 150", "imageGCHighThresholdPercent: many", "a: [",
        "\t- x: {"}) {
    const auto config = KubeletConfig::Parse(text);
    EXPECT_EQ(config.status().code(), StatusCode::kInvalidArgument) << text;
    EXPECT_NE(config.status().message(), "") << text;
  }
}

}  // namespace
}  // namespace hearth::cmd
