#include "cmd/pull_job_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::cmd {
namespace {

using ::testing::ElementsAre;

constexpr char kJob[] = R"({"metadata":{"name":"j"},"status":{"phase":"InProgress",
  "nodes":{"desired":4,"succeeded":1,"failed":1},
  "nodeStatus":[{"nodeName":"n1","phase":"Failure","reason":"the disk is full"},
    {"nodeName":"n2","phase":"InProgress","bytesDone":1024,"bytesTotal":2048},
    {"nodeName":"n3","phase":"Pending"},{"nodeName":"n4","phase":"Successful"}]}})";

TEST(PullJobViewTest, ShowsWhatWorksAndWhatFailed) {
  const auto view = PullJobView::Parse(kJob);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_FALSE(view->ended());
  EXPECT_THAT(view->Lines(80, 24),
              ElementsAre("j: 1 of 4 nodes have it, 1 failed", "  n1  Failure  the disk is full",
                          "  n2  InProgress  1.0 KiB of 2.0 KiB"));
  EXPECT_THAT(view->Lines(4, 2), ElementsAre("j: 1", "  n1"));
  EXPECT_TRUE(view->Lines(80, 0).empty());
}

TEST(PullJobViewTest, OtherJsonIsRefused) {
  for (const char* bad : {"", "[]", "{}", R"({"metadata":{"name":1},"status":{}})"}) {
    EXPECT_EQ(PullJobView::Parse(bad).status().code(), StatusCode::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace hearth::cmd
