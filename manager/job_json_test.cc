#include "manager/job_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace hearth::manager {
namespace {

using nlohmann::json;

// Of `nodes` nodes with `tasks` copies each; the last `failed` of them failed.
Job Large(size_t nodes, size_t tasks, size_t failed) {
  Job job;
  job.id = 7;
  job.task_id = "group_x";
  job.spec.items.emplace_back().url = "https://r.example/v2/a/manifests/v";
  job.spec.header_names = {"Authorization"};
  for (size_t i = 0; i < tasks; ++i) {
    JobTask& task = job.tasks.emplace_back();
    task.url = "https://r.example/v2/a/blobs/" + std::to_string(i);
    task.task_id = std::string(64, 'a');
  }
  for (size_t i = 0; i < nodes; ++i) {
    Target& target = job.targets.emplace_back();
    target.name = "n" + std::to_string(i);
    target.cluster = i % 2 == 0 ? "even" : "odd";
    target.state = i + failed < nodes ? TargetState::kDone : TargetState::kFailed;
    for (uint32_t copy = 0; copy < tasks; ++copy) target.copies.push_back(copy);
    target.why.push_back({0, StatusCode::kNotFound, "because " + std::string(300, 'x')});
  }
  return job;
}

std::vector<ClusterInfo> Clusters() {
  return {{.id = 1, .name = "even"}, {.id = 2, .name = "odd"}, {.id = 3, .name = "none"}};
}

TEST(JobJsonTest, StaysWithinItsBoundAndShowsFailuresFirst) {
  Job job = Large(1'000, 50, 20);
  job.spec.items.resize(256, job.spec.items.front());
  for (JobItem& item : job.spec.items) item.url += std::string(500, 'u');
  const std::string text = JobJson(job, Clusters());
  EXPECT_LE(text.size(), kMaxJobJsonBytes);
  const json shown = json::parse(text);
  EXPECT_TRUE(shown["result"]["truncated"].get<bool>());
  EXPECT_EQ(shown["progress"]["nodes"]["failed"], 20);
  size_t failures = 0;
  for (const json& state : shown["result"]["job_states"]) {
    failures += state["results"][0]["failure_tasks"].size();
  }
  EXPECT_EQ(failures, 20u);
}

TEST(JobJsonTest, ANodeThatFailsWithManyItemsHidesNoOtherOne) {
  Job job = Large(10, 1, 10);
  job.spec.items.resize(200, job.spec.items.front());
  for (Target& target : job.targets) {
    for (uint32_t item = 1; item < 200; ++item) {
      target.why.push_back({item, StatusCode::kNotFound, std::string(500, 'x')});
    }
  }
  const json shown = json::parse(JobJson(job, Clusters()));
  std::set<std::string> names;
  for (const json& state : shown["result"]["job_states"]) {
    for (const json& failure : state["results"][0]["failure_tasks"]) {
      names.insert(failure["hostname"].get<std::string>());
    }
  }
  EXPECT_EQ(names.size(), 10u);
}

TEST(JobJsonTest, ThePageOfNodesIsBoundedWhateverFails) {
  Job job = Large(100, 10, 100);
  for (Target& target : job.targets) {
    for (uint32_t item = 1; item < 200; ++item) {
      target.why.push_back({item, StatusCode::kNotFound, std::string(1'000, 'x')});
    }
  }
  const std::string text = JobNodesJson(job, {});
  EXPECT_LE(text.size(), kMaxNodesJsonBytes + (1u << 20));
  EXPECT_TRUE(json::parse(text)["truncated"].get<bool>());
}

TEST(JobJsonTest, EachClusterHasItsOwnState) {
  Job job = Large(4, 1, 1);
  job.state = JobState::kFailure;
  job.reason = "1 of 4 nodes failed";
  const json shown = json::parse(JobJson(job, Clusters()));
  const json& states = shown["result"]["job_states"];
  ASSERT_EQ(states.size(), 2u);
  EXPECT_EQ(states[0]["state"], "SUCCESS");
  EXPECT_EQ(states[0]["error"], "");
  EXPECT_EQ(states[1]["state"], "FAILURE");
  EXPECT_EQ(states[1]["error"], "1 of 4 nodes failed");
  EXPECT_EQ(states[1]["results"][0]["scheduler_cluster_id"], 2);
  EXPECT_EQ(shown["scheduler_clusters"].size(), 2u);
}

TEST(JobJsonTest, ShowsNoSecret) {
  const json args = json::parse(JobJson(Large(1, 1, 0), Clusters()))["args"];
  EXPECT_EQ(args["headers"], (json{{"Authorization", "***"}}));
  EXPECT_EQ(args["username"], "");
  EXPECT_EQ(args["password"], "");
}

TEST(JobJsonTest, NodesByPageAndState) {
  const Job job = Large(10, 2, 3);
  const auto page = [&](NodePage wanted) { return json::parse(JobNodesJson(job, wanted)); };
  EXPECT_EQ(page({.page = 2, .per_page = 4, .state = {}})["nodes"][0]["name"], "n4");
  EXPECT_EQ(page({.page = 3, .per_page = 4, .state = {}})["nodes"].size(), 2u);
  const json failed = page({.page = 1, .per_page = 2, .state = TargetState::kFailed});
  EXPECT_EQ(failed["total"], 3);
  EXPECT_EQ(failed["nodes"].size(), 2u);
}

}  // namespace
}  // namespace hearth::manager
