#include "manager/pull_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Node> ThreeNodes() {
  std::vector<Node> nodes(3);
  for (size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].id = "id" + std::to_string(i);
    nodes[i].profile.name = "n" + std::to_string(i);
    nodes[i].profile.data_address = "10.0.0." + std::to_string(i) + ":7734";
    nodes[i].profile.labels["zone"] = i == 0 ? "a" : "b";
  }
  nodes[2].banned = true;
  nodes[2].ban_reason = "wrong bytes";
  return nodes;
}

std::vector<std::string> Shown(const std::vector<Target>& targets) {
  std::vector<std::string> out;
  for (const Target& target : targets) {
    out.push_back(target.name + " " + std::string(TargetStateName(target.state)) +
                  (target.why.empty() ? "" : ": " + target.why.front().message.str()));
  }
  return out;
}

TEST(PullTargetsTest, UnknownAndBannedNodesFailWithTheReason) {
  PullJob job;
  job.images = {"a", "b"};
  job.node_names = {"n1", "n2", "nowhere"};
  const auto targets = ChoosePullTargets(job, ThreeNodes());
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_THAT(Shown(*targets),
              ElementsAre("n1 waiting", "n2 failed: the node is banned: wrong bytes",
                          "nowhere failed: no node of this name has joined (hearth nodes ls)"));
  EXPECT_EQ((*targets)[0].host, "10.0.0.1");
  EXPECT_EQ((*targets)[2].why.size(), 2u);  // one per image
}

TEST(PullTargetsTest, SelectorTakesWhatMatchesNow) {
  PullJob job;
  job.images = {"a"};
  job.node_selector = LabelSelector{{{"zone", LabelSelector::Operator::kIn, {"a"}}}};
  EXPECT_THAT(Shown(*ChoosePullTargets(job, ThreeNodes())), ElementsAre("n0 waiting"));
  job.node_selector = LabelSelector{{{"zone", LabelSelector::Operator::kIn, {"c"}}}};
  const Status none = ChoosePullTargets(job, ThreeNodes()).status();
  EXPECT_EQ(none.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(none.message(), HasSubstr("no node has these labels"));
}

}  // namespace
}  // namespace hearth::manager
