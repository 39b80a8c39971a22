#include "manager/job_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using testing::HasSubstr;

// "name cluster [label=value]… [away] [banned] [cordoned]"
std::vector<Node> Fleet(const std::vector<std::string>& lines) {
  std::vector<Node> nodes;
  for (const std::string& line : lines) {
    Node& node = nodes.emplace_back();
    node.connected = true;
    size_t number = 0;
    for (size_t start = 0; start < line.size();) {
      const size_t end = std::min(line.find(' ', start), line.size());
      const std::string word = line.substr(start, end - start);
      start = end + 1;
      const size_t equals = word.find('=');
      if (number++ == 0) {
        node.id = node.profile.name = word;
        node.profile.data_address = "10.0.0." + std::to_string(nodes.size()) + ":7734";
      } else if (number == 2) {
        node.cluster = word;
      } else if (word == "away") {
        node.connected = false;
      } else if (word == "banned") {
        node.banned = true;
      } else if (word == "cordoned") {
        node.cordoned = true;
        node.cordon_reason = "maintenance";
      } else {
        node.profile.labels[word.substr(0, equals)] = word.substr(equals + 1);
      }
    }
  }
  return nodes;
}

std::string Chosen(const JobSpec& spec, const std::vector<std::string>& fleet) {
  const auto targets = ChooseTargets(spec, Fleet(fleet));
  if (!targets.ok()) return targets.status().message();
  std::string names;
  for (const Target& target : *targets) names += (names.empty() ? "" : " ") + target.name;
  return names;
}

TEST(JobScopeTest, AllPeersAreAllThatJoinedButTheBanned) {
  EXPECT_EQ(Chosen({}, {"a x", "b x away", "c y", "d y banned"}), "a b c");
  JobSpec spec;
  spec.clusters = {"y"};
  EXPECT_EQ(Chosen(spec, {"a x", "b x away", "c y", "d y banned"}), "c");
}

TEST(JobScopeTest, ACordonedNodeIsLeftOutAndSaidToBeSoWhereItIsNamed) {
  EXPECT_EQ(Chosen({}, {"a x", "b x cordoned"}), "a");
  EXPECT_THAT(Chosen({}, {"b x cordoned"}), HasSubstr("cordoned"));
  JobSpec spec;
  spec.nodes = {"a", "b"};
  EXPECT_THAT(Chosen(spec, {"a x", "b x cordoned"}), HasSubstr("b is cordoned: maintenance"));
  EXPECT_THAT(Chosen(spec, {"a x", "b x banned"}), HasSubstr("b is banned"));
  spec.dry_run = true;
  EXPECT_EQ(Chosen(spec, {"a x", "b x cordoned"}), "a b") << "it still serves pulls";
  spec = {};
  spec.ips = {"10.0.0.1", "10.0.0.2"};
  EXPECT_THAT(Chosen(spec, {"a x", "b x cordoned"}), HasSubstr("b is cordoned"));
}

TEST(JobScopeTest, SeedPeersAreThoseLabelledElseOneThatStandsIn) {
  JobSpec spec;
  spec.scope = JobScope::kAllSeedPeers;
  EXPECT_EQ(Chosen(spec, {"a x", "b x seed=true", "c x seed=true", "d x seed=no"}), "b c");
  EXPECT_EQ(Chosen(spec, {"a x away", "b x", "c y away"}), "b c");  // one of each cluster
  spec.scope = JobScope::kSingleSeedPeer;
  EXPECT_EQ(Chosen(spec, {"a x", "b x seed=true away", "c x seed=true"}), "c");
  const std::vector<std::string> fleet = {"a x", "b x", "c x", "d x", "e x"};
  const std::string first = Chosen(spec, fleet);
  EXPECT_EQ(first.size(), 1u);
  EXPECT_EQ(Chosen(spec, fleet), first);
}

TEST(JobScopeTest, NamesAddressesAndLabelsNarrowIt) {
  const std::vector<std::string> fleet = {"a x zone=1", "b x zone=2", "c x zone=2 disk=ssd"};
  JobSpec spec;
  spec.nodes = {"a", "c"};
  EXPECT_EQ(Chosen(spec, fleet), "a c");
  spec.node_labels = {{"zone", "2"}};
  EXPECT_EQ(Chosen(spec, fleet), "c");
  spec = {};
  spec.ips = {"10.0.0.2"};
  spec.count = 1;  // addresses go first
  EXPECT_EQ(Chosen(spec, fleet), "b");
}

TEST(JobScopeTest, ACountOrAShareTakesThoseThatAreThereFirst) {
  const std::vector<std::string> fleet = {"a x away", "b x", "c x away", "d x"};
  JobSpec spec;
  spec.count = 2;
  EXPECT_EQ(Chosen(spec, fleet), "b d");
  spec.percentage = 1;  // a count goes first
  EXPECT_EQ(Chosen(spec, fleet), "b d");
  spec.count = 0;
  EXPECT_EQ(Chosen(spec, fleet).size(), 1u);
  spec.percentage = 100;
  EXPECT_EQ(Chosen(spec, fleet), "a b c d");
}

TEST(JobScopeTest, SaysWhatIsNotThere) {
  EXPECT_THAT(Chosen({}, {}), HasSubstr("no node has joined"));
  EXPECT_THAT(Chosen({}, {"a x banned"}), HasSubstr("banned"));
  JobSpec spec;
  spec.nodes = {"z"};
  EXPECT_THAT(Chosen(spec, {"a x"}), HasSubstr("nodes: no node of these clusters has \"z\""));
  spec = {};
  spec.ips = {"1.2.3.4"};
  EXPECT_THAT(Chosen(spec, {"a x"}), HasSubstr("ips"));
  spec = {};
  spec.node_labels = {{"zone", "9"}};
  EXPECT_THAT(Chosen(spec, {"a x"}), HasSubstr("node_labels"));
}

}  // namespace
}  // namespace hearth::manager
