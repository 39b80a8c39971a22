#include "cmd/space_review.h"

#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

// A disk of 1,000 GiB and 1,000 inodes, so that percents are easy to see.
SpaceState Disk(uint64_t free_percent) {
  SpaceState state;
  state.path = "/store";
  state.total_bytes = uint64_t{1000} << 30;
  state.free_bytes = state.total_bytes / 100 * free_percent;
  state.total_inodes = 1000;
  state.free_inodes = 500;
  state.min_free_bytes = state.total_bytes / 5;
  state.min_free_inodes = 100;
  return state;
}

// "ok", or "warn: why".
std::string Of(const SpaceState& state, const std::string& check) {
  Findings findings;
  ReviewSpace(state, findings);
  for (const Finding& one : findings.list()) {
    if (one.check != check) continue;
    if (one.state == Finding::State::kOk) return "ok";
    return (one.state == Finding::State::kWarn ? "warn: " : "fail: ") + one.why;
  }
  return "none";
}

TEST(SpaceReviewTest, WithoutAKubeletOnlyTheNodeCounts) {
  EXPECT_EQ(Of(Disk(50), "disk space"), "ok");
  EXPECT_EQ(Of(Disk(20), "disk space"), "ok");
  EXPECT_EQ(Of(Disk(19), "disk space"),
            "warn: that is less than [store] min_free, 200 GiB (20%): preheated data gives way "
            "until there is more");
  EXPECT_EQ(Of(Disk(4), "disk space"), "fail: pulls and preheats are about to fail");
  EXPECT_EQ(Of(Disk(50), "disk thresholds"), "none");
}

TEST(SpaceReviewTest, KubeletsThresholdsCountWhereItIs) {
  SpaceState state = Disk(15);
  state.kubelet = KubeletConfig{};
  EXPECT_EQ(Of(state, "disk space"), "warn: kubelet deletes images below 150 GiB (15%)");
  state = Disk(14);
  state.kubelet = KubeletConfig{};
  EXPECT_EQ(Of(state, "disk space"), "fail: kubelet evicts pods below 150 GiB (15%)");
  // Its own directory on the same disk: the stricter one.
  state = Disk(24);
  state.kubelet = KubeletConfig{};
  state.kubelet->node_available = {25, {}};
  EXPECT_EQ(Of(state, "disk space"), "ok");
  state.shared_with_kubelet = true;
  EXPECT_EQ(Of(state, "disk space"), "fail: kubelet evicts pods below 250 GiB (25%)");
}

TEST(SpaceReviewTest, TheNodeHasToGiveWayBeforeKubeletActs) {
  SpaceState state = Disk(50);
  state.kubelet = KubeletConfig{};
  EXPECT_EQ(Of(state, "disk thresholds"), "ok");  // 20% against 15%
  const std::string late =
      "warn: on a full disk kubelet deletes images and evicts pods before Hearth gives up what it "
      "can fetch again";
  state.kubelet->gc_high_percent = 80;  // deletes at 20% free
  EXPECT_EQ(Of(state, "disk thresholds"), late);
  state.kubelet->gc_high_percent = 100;  // never
  EXPECT_EQ(Of(state, "disk thresholds"), "ok");
  state.min_free_bytes = 0;
  EXPECT_EQ(Of(state, "disk thresholds"), late);
  state.kubelet->images_available = {0, {}};
  EXPECT_EQ(Of(state, "disk thresholds"), "ok");
}

TEST(SpaceReviewTest, InodesRunOutToo) {
  SpaceState state = Disk(50);
  EXPECT_EQ(Of(state, "inodes"), "ok");
  state.free_inodes = 90;
  EXPECT_EQ(Of(state, "inodes"),
            "warn: that is less than [store] min_free_inodes, 100 (10%): preheated layers give way "
            "until there are more");
  state.min_free_inodes = 0;
  EXPECT_EQ(Of(state, "inodes"), "warn: layers of many files will soon not unpack");
  state.min_free_inodes = 100;
  state.free_inodes = 40;
  EXPECT_EQ(Of(state, "inodes"), "fail: layers of many files cannot be unpacked");
  state.kubelet = KubeletConfig{};
  state.shared_with_kubelet = true;
  EXPECT_EQ(Of(state, "inodes"), "fail: kubelet evicts pods below 50 (5%)");
  state.shared_with_kubelet = false;
  EXPECT_EQ(Of(state, "inodes"), "fail: kubelet evicts pods below 50 (5%)") << "imagefs";
  state.kubelet->images_inodes_free = {0, {}};
  EXPECT_EQ(Of(state, "inodes"), "fail: layers of many files cannot be unpacked");
  state.free_inodes = 150;
  state.min_free_inodes = 200;
  EXPECT_EQ(Of(state, "inodes"),
            "warn: that is less than [store] min_free_inodes, 200 (20%): preheated layers give way "
            "until there are more");
  state.kubelet->images_inodes_free = {5, {}};
  state.min_free_inodes = 50;
  EXPECT_EQ(Of(state, "inodes"),
            "warn: kubelet evicts pods below 50 (5%), before Hearth gives up what it can fetch "
            "again");
  state.min_free_inodes = 100;
  EXPECT_EQ(Of(state, "inodes"), "ok");
  state.total_inodes = 0;  // as btrfs
  EXPECT_EQ(Of(state, "inodes"), "none");
}

}  // namespace
}  // namespace hearth::cmd
