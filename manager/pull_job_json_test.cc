#include "manager/pull_job_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "manager/kube_documents.h"

namespace hearth::manager {
namespace {

using nlohmann::json;

PullJob Whole() {
  PullJob job;
  job.name = "j";
  job.labels = {{"team", "7"}};
  job.images = {"nginx", "r.io/a:v1"};
  job.node_selector = LabelSelector{{{"zone", LabelSelector::Operator::kNotIn, {"a", "b"}},
                                     {"ssd", LabelSelector::Operator::kExists, {}}}};
  job.checks = {PullJob::Check::kCpu, PullJob::Check::kMemory, PullJob::Check::kDisk};
  job.failure_tolerate = *FailureTolerance::Parse("0.25");
  job.concurrency = 3;
  job.timeout = std::chrono::seconds(17);
  job.retries = 2;
  job.secrets = {"a/b", "c/d"};
  job.pin = true;
  return job;
}

TEST(PullJobJsonTest, TheDocumentReadsBackAsTheJob) {
  PullJob by_name = Whole();
  by_name.node_selector.reset();
  by_name.node_names = {"n1", "n2"};
  for (const PullJob& job : {Whole(), by_name}) {
    const auto read = KubeDocuments::Parse(PullJobDocument(job));
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(read->jobs.size(), 1u);
    EXPECT_EQ(read->jobs[0], job);
  }
}

Job ManyNodes(size_t nodes) {
  Job job;
  job.name = "j";
  job.task_id = "group_0a";
  job.document = PullJobDocument(Whole());
  job.spec.items.emplace_back().url = "nginx";
  for (size_t i = 0; i < nodes; ++i) {
    Target& target = job.targets.emplace_back();
    target.name = "node-" + std::to_string(i);
    target.state = i + 1 == nodes ? TargetState::kFailed : TargetState::kDone;
    if (i + 1 == nodes) target.why = {{0, StatusCode::kDeadlineExceeded, std::string(5'000, 'x')}};
  }
  return job;
}

TEST(PullJobJsonTest, FailuresComeFirstAndTheSizeIsBounded) {
  const std::string text = PullJobJson(ManyNodes(20'000));
  EXPECT_LE(text.size(), kMaxPullJobJsonBytes);
  const json job = json::parse(text);
  const json& status = job.at("status");
  EXPECT_EQ(status.at("nodeStatus").at(0).at("nodeName"), "node-19999");
  EXPECT_EQ(status.at("nodeStatus").at(0).at("phase"), "Unknown");
  EXPECT_EQ(status.at("nodes").at("desired"), 20'000);
  EXPECT_TRUE(status.at("truncated").get<bool>());
  EXPECT_EQ(job.at("metadata").at("uid"), "0a");
  EXPECT_EQ(job.at("spec").at("imagePrePullTemplate").at("concurrency"), 3);
}

TEST(PullJobJsonTest, ANodeThatFailsWithManyImagesHidesNoOtherOne) {
  Job job = ManyNodes(10);
  job.spec.items.resize(256, job.spec.items.front());
  for (Target& target : job.targets) {
    target.state = TargetState::kFailed;
    for (uint32_t item = 0; item < 256; ++item) {
      target.why.push_back({item, StatusCode::kNotFound, std::string(1'000, 'x')});
    }
  }
  const json status = json::parse(PullJobJson(job)).at("status");
  EXPECT_EQ(status.at("nodeStatus").size(), 10u);
  EXPECT_TRUE(status.at("truncated").get<bool>());
}

TEST(PullJobJsonTest, AVeryLongSpecIsLeftOut) {
  Job job = ManyNodes(1);
  PullJob spec = Whole();
  spec.node_selector.reset();
  for (int i = 0; i < 20'000; ++i) spec.node_names.push_back("node-" + std::to_string(i));
  job.document = PullJobDocument(spec);
  const json shown = json::parse(PullJobJson(job));
  EXPECT_FALSE(shown.contains("spec"));
  EXPECT_EQ(shown.at("metadata").at("name"), "j");
}

TEST(PullJobJsonTest, HeadsOfAListHaveCountsWhileTheJobIsUnderWay) {
  Job job = ManyNodes(2);
  const json active = json::parse(PullJobHeadJson(job, CountsOf(job)));
  EXPECT_EQ(active.at("status").at("nodes").at("succeeded"), 1);
  job.targets.clear();
  job.state = JobState::kSuccess;
  const json status = json::parse(PullJobHeadJson(job, {})).at("status");
  EXPECT_EQ(status.at("phase"), "Completed");
  EXPECT_FALSE(status.contains("nodes"));
}

}  // namespace
}  // namespace hearth::manager
