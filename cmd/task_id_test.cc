#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cmd/commands.h"

namespace hearth::cmd {
namespace {

using testing::HasSubstr;

TEST(RunTaskId, PrintsEverySchemeAsJson) {
  Common common;
  common.json = true;
  TaskIdArgs args;
  args.urls = {"https://example.com?foo=foo&bar=bar"};
  args.filter = "foo&bar";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTaskId(common, args), kDone);
  const auto out = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  const auto& tasks = out["urls"][0]["tasks"];
  ASSERT_EQ(tasks.size(), 7u);
  EXPECT_EQ(tasks[1]["scheme"], "v2.1");
  EXPECT_EQ(tasks[1]["hashed_url"], "https://example.com");
  EXPECT_EQ(tasks[1]["task_id"],
            "4a89bbe790108d4987e7dc5127df2b99aea1c17828f1ff3e55176f49ac974b28");
  EXPECT_TRUE(out["urls"][0]["blob_task_id"].is_null());
}

TEST(RunTaskId, OneSchemeIsOneLine) {
  TaskIdArgs args;
  args.urls = {"https://example.com"};
  args.tag = "foo";
  args.scheme = "v1";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTaskId(Common(), args), kDone);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "2773851c628744fb7933003195db436ce397c1722920696c4274ff804d86920b\n");
}

TEST(RunTaskId, WrongUse) {
  for (const auto& [url, scheme, why] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"https://h", "v9", "one of v1"},
           {"http://h:port/", "", "no valid host and port"},
           {"", "", "URL is empty"},
       }) {
    TaskIdArgs args;
    args.urls = {url};
    args.scheme = scheme;
    testing::internal::CaptureStderr();
    EXPECT_EQ(RunTaskId(Common(), args), kWrongUse);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(why));
  }
}

}  // namespace
}  // namespace hearth::cmd
