#include "manager/pull_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Parsed {
  std::vector<PullJob> jobs;
  std::string problems;
};

Parsed Parse(std::string_view text) {
  YamlProblems problems;
  Parsed parsed;
  auto documents = YamlObject::ParseAll(text, problems);
  if (!documents.ok()) return {{}, documents.status().message()};
  for (YamlObject& document : *documents) parsed.jobs.push_back(PullJob::Read(document));
  parsed.problems = problems.ToStatus().message();
  return parsed;
}

std::string With(std::string_view more, std::string_view nodes = "nodeNames: [edge]") {
  return "apiVersion: operations.kubeedge.io/v1alpha1\nkind: ImagePrePullJob\nmetadata: {name: j}\n"
         "spec:\n  imagePrePullTemplate:\n    images: [nginx]\n    " +
         std::string(nodes) + "\n    " + std::string(more) + "\n";
}

constexpr char kWhole[] = R"(
apiVersion: operations.kubeedge.io/v1alpha2
kind: ImagePrePullJob
metadata:
  name: everything
  labels: {team: "7"}
  uid: 3a
spec:
  imagePrePullTemplate:
    concurrency: 2
    failureTolerate: '0.25'
    images:
      - test:nginx
      - registry.example.com:5000/team/app:v1
      - test:nginx
    nodeNames:
      - edge.kubeedge
      - edge2
      - edge2
    checkItems: [cpu, mem, disk]
    imageSecrets: default/my-secret
    imagePullSecrets: [kube-system/other, default/my-secret]
    retryTimes: 3
    timeoutSeconds: 120
    pin: true
status: {phase: Init}
)";

TEST(PullJobTest, ReadsEveryField) {
  const Parsed parsed = Parse(kWhole);
  ASSERT_EQ(parsed.problems, "");
  ASSERT_EQ(parsed.jobs.size(), 1u);
  const PullJob& job = parsed.jobs[0];
  EXPECT_EQ(job.name, "everything");
  EXPECT_EQ(job.labels.at("team"), "7");
  EXPECT_EQ(job.images.size(), 2u);
  EXPECT_THAT(job.node_names, ElementsAre("edge.kubeedge", "edge2"));
  EXPECT_EQ(job.node_selector, std::nullopt);
  EXPECT_THAT(job.checks,
              ElementsAre(PullJob::Check::kCpu, PullJob::Check::kMemory, PullJob::Check::kDisk));
  EXPECT_EQ(job.failure_tolerate.ToString(), "0.25");
  EXPECT_EQ(job.concurrency, 2u);
  EXPECT_EQ(job.timeout, seconds(120));
  EXPECT_EQ(job.retries, 3u);
  EXPECT_THAT(job.secrets, ElementsAre("default/my-secret", "kube-system/other"));
  EXPECT_TRUE(job.pin);
}

TEST(PullJobTest, JsonIsReadAlike) {
  const Parsed parsed = Parse(R"({
	"apiVersion": "operations.kubeedge.io\/v1alpha1", "kind": "ImagePrePullJob",
	"metadata": {"name": "j"},
	"spec": {"imagePrePullTemplate": {"images": ["nginx"], "nodeNames": ["edge"],
	  "retryTimes": 0, "concurrency": null, "checkItems": []}}})");
  EXPECT_EQ(parsed.problems, "");
  ASSERT_EQ(parsed.jobs.size(), 1u);
  EXPECT_THAT(parsed.jobs[0].images, ElementsAre("nginx"));
}

// KubeEdge documents these and does otherwise where a field is absent; zero is absent.
TEST(PullJobTest, DocumentedDefaultsHoldForAbsentAndZero) {
  PullJob plain;
  plain.name = "j";
  plain.images = {"nginx"};
  plain.node_names = {"edge"};
  ASSERT_EQ(plain.failure_tolerate.ToString(), "0.1");
  ASSERT_EQ(plain.timeout, seconds(300));
  for (const char* more : {"", "timeoutSeconds: 0", "concurrency: 0", "retryTimes: 0",
                           "checkItems: []", "failureTolerate: \"\"", "imageSecrets: ~"}) {
    const Parsed parsed = Parse(With(more));
    EXPECT_EQ(parsed.problems, "") << more;
    ASSERT_EQ(parsed.jobs.size(), 1u) << more;
    EXPECT_EQ(parsed.jobs[0], plain) << more;
  }
}

TEST(PullJobTest, SelectsNodesByLabels) {
  const Parsed parsed = Parse(With("concurrency: 1", R"(labelSelector:
      matchLabels: {zone: a}
      matchExpressions:
        - {key: disk, operator: In, values: [ssd, nvme]}
        - {key: node-role.kubernetes.io/edge, operator: Exists})"));
  ASSERT_EQ(parsed.problems, "");
  const LabelSelector& selector = *parsed.jobs[0].node_selector;
  EXPECT_TRUE(
      selector.Matches({{"zone", "a"}, {"disk", "ssd"}, {"node-role.kubernetes.io/edge", ""}}));
  EXPECT_FALSE(selector.Matches({{"zone", "a"}, {"disk", "ssd"}}));
  EXPECT_FALSE(
      selector.Matches({{"zone", "b"}, {"disk", "ssd"}, {"node-role.kubernetes.io/edge", ""}}));
}

TEST(PullJobTest, EachBadFieldIsNamedWithItsLine) {
  const std::pair<const char*, const char*> bad[] = {
      {"failureTolerate: abc",
       "line 8: spec.imagePrePullTemplate.failureTolerate: must be a share"},
      {"failureTolerate: '1.1'", "failureTolerate: must be a share"},
      {"failureTolerate: '-0.1'", "failureTolerate: must be a share"},
      {"concurrency: '2'", "concurrency: must be a whole number"},
      {"concurrency: -1", "concurrency: must be a whole number"},
      {"timeoutSeconds: 1.5", "timeoutSeconds: must be a whole number"},
      {"timeoutSeconds: 99999999999999999999", "timeoutSeconds: must be a whole number"},
      {"retryTimes: [1]", "retryTimes: must be a whole number"},
      {"checkItems: [gpu]", "checkItems: knows cpu, mem and disk, not \"gpu\""},
      {"checkItems: disk", "checkItems: must be a list of texts"},
      {"imageSecrets: secret", "imageSecrets: must be a secret's NAMESPACE/NAME"},
      {"imageSecrets: a/b/c", "imageSecrets: must be a secret's NAMESPACE/NAME"},
      {"imageSecrets: [a/b]", "imageSecrets: must be a text"},
      {"pin: \"yes\"", "pin: must be true or false"},
      {"nodes: [a]", "\"nodes\": unknown field (did you mean nodeNames?)"},
      {"imageSecret: a/b", "\"imageSecret\": unknown field (did you mean imageSecrets?)"},
      {"timeoutSecondsOnEachNode: 3", "(did you mean timeoutSeconds?)"},
      {"retryTime: 3", "(did you mean retryTimes?)"},
      {"wholly-else: 3", "\"wholly-else\": unknown field"},
      {"pin: true\n    pin: true", "\"pin\" is there twice"},
      {"labelSelector: {matchLabels: {a: b}}", "has both nodeNames and labelSelector"},
  };
  for (const auto& [field, what] : bad) {
    EXPECT_THAT(Parse(With(field)).problems, HasSubstr(what)) << field;
    EXPECT_THAT(Parse(With(field)).problems, HasSubstr("line ")) << field;
  }
}

TEST(PullJobTest, NodesAndImagesMustBeThere) {
  EXPECT_THAT(Parse(With("", "images2: []")).problems,
              HasSubstr("needs nodeNames or labelSelector"));
  EXPECT_THAT(Parse(With("", "nodeNames: [Edge_1]")).problems,
              HasSubstr("\"Edge_1\" is no node's name"));
  EXPECT_THAT(Parse(With("", "nodeNames: [1]")).problems, HasSubstr("list of texts"));
  EXPECT_THAT(
      Parse(With("", "labelSelector: {matchExpressions: [{key: a, operator: Is}]}")).problems,
      HasSubstr("matchExpressions[0].operator: must be In"));
  EXPECT_THAT(
      Parse(With("", "labelSelector: {matchExpressions: [{key: a, operator: In}]}")).problems,
      HasSubstr("matchExpressions[0]: In and NotIn need values"));
  const std::string all =
      Parse("{kind: ImagePrePullJob, spec: {imagePrePullTemplate: {images: []}}}").problems;
  EXPECT_THAT(all, HasSubstr("images: must name at least one image"));
  EXPECT_THAT(all, HasSubstr("metadata: missing"));
  EXPECT_THAT(all, HasSubstr("apiVersion: must be"));
  EXPECT_THAT(Parse("kind: ImagePrePullJob\nspec: {}").problems, HasSubstr("spec: missing"));
  EXPECT_THAT(Parse("- a\n- b").problems, HasSubstr("line 1: must be an object"));
}

// The first sample of KubeEdge's guide, which never was valid.
TEST(PullJobTest, FullWidthColonsAreNamedWithLineAndRightSpelling) {
  const std::string problems = Parse(R"(apiVersion: operations.kubeedge.io/v1alpha1
kind: ImagePrePullJob
metadata:
  name: imageprepull-example
  labels:
    description:ImagePrePullLabel
spec:
  imagePrePullTemplate：
    images:
      - image1
    nodes：
      - edgenode1
    checkItems:
      - "disk"
)")
                                   .problems;
  EXPECT_THAT(problems, HasSubstr("line 8: \"imagePrePullTemplate：\" ends in a full-width colon "
                                  "(U+FF1A): write \"imagePrePullTemplate:\""));
  EXPECT_THAT(problems, HasSubstr("line 11: \"nodes：\" ends in a full-width colon"));
  EXPECT_THAT(problems,
              HasSubstr("line 11: spec.imagePrePullTemplate.\"nodes\": unknown field (did "
                        "you mean nodeNames?)"));
  EXPECT_THAT(problems, HasSubstr("line 6: metadata.labels: must be an object of fields, and "
                                  "\"description:ImagePrePullLabel\" lacks a space"));
}

TEST(PullJobTest, WideColonsInCommentsAndTextsAreNoProblem) {
  const Parsed parsed = Parse("# 注意：说明\n" + With("pin: true  # 说明：钉住"));
  EXPECT_EQ(parsed.problems, "");
}

TEST(PullJobTest, WhatIsNoYamlSaysWhere) {
  EXPECT_THAT(Parse("a: b\nc: [").problems, HasSubstr("line "));
  EXPECT_THAT(Parse("a: b\nc: [").problems, HasSubstr("not YAML"));
  EXPECT_THAT(Parse(std::string(YamlObject::kMaxBytes + 1, ' ')).problems, HasSubstr("1 MiB"));
  EXPECT_THAT(Parse(std::string(100'000, '[')).problems, HasSubstr("not YAML"));
  EXPECT_THAT(Parse("&a {b: *a}").problems, Not(HasSubstr("crash")));
}

// Found by fuzzing: yaml-cpp never comes to the end of these.
TEST(PullJobTest, ADocumentThatNoneCanBeginLikeIsRefusedAtOnce) {
  for (const char* endless : {",*a a&[]\n", ",", "a: b\n---\n,\n", "]", "}"}) {
    EXPECT_THAT(Parse(endless).problems, HasSubstr("not YAML")) << endless;
  }
}

TEST(PullJobTest, ValuesAreBoundedWithThoseThatAliasesStandFor) {
  std::string many = "images: [";
  for (size_t i = 0; i < YamlObject::kMaxValues; ++i) many += "a,";
  const std::string bomb =
      "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
      "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
      "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
  for (const std::string& text : {many + "a]", bomb}) {
    EXPECT_THAT(Parse(text).problems, HasSubstr("more than 100000 values"));
  }
}

TEST(PullJobTest, ManyProblemsAreCutShort) {
  std::string fields;
  for (int i = 0; i < 100; ++i) fields += "strange" + std::to_string(i * 1000) + ": 1\n    ";
  const std::string problems = Parse(With(fields)).problems;
  EXPECT_THAT(problems, HasSubstr("and 80 more"));
}

TEST(FailureToleranceTest, IsExact) {
  const auto of = [](std::string_view text) { return *FailureTolerance::Parse(text); };
  EXPECT_FALSE(of("0.1").Exceeded(1, 10));
  EXPECT_TRUE(of("0.1").Exceeded(2, 10));
  EXPECT_FALSE(of("0").Exceeded(0, 10));
  EXPECT_TRUE(of("0").Exceeded(1, 100'000));
  EXPECT_FALSE(of("1").Exceeded(100'000, 100'000));
  EXPECT_FALSE(of("30%").Exceeded(3, 10));
  EXPECT_TRUE(of("30%").Exceeded(4, 10));
  EXPECT_EQ(of("30%").ToString(), "0.3");
  EXPECT_EQ(of("0.123456789").ToString(), "0.123456789");
  EXPECT_EQ(of("1").ToString(), "1");
  EXPECT_EQ(of("0.50"), of("50.0%"));
  for (const char* bad :
       {"", "abc", "-1", "1.01", "101%", ".", ".5", "1.", "0.1234567891", "0x1", "%"}) {
    EXPECT_FALSE(FailureTolerance::Parse(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace hearth::manager
