#include "plugin/file_version.h"

#include <gtest/gtest.h>

#include <optional>

#include "plugin/file_cache.h"

namespace hearth::plugin {
namespace {

TEST(FileIngest, IsNoneOfContainerds) {
  EXPECT_TRUE(IsFileIngest("file/" + std::string(64, 'a')));
  EXPECT_FALSE(IsFileIngest("file/" + std::string(63, 'a')));
  EXPECT_FALSE(IsFileIngest("file/12/layer-sha256:" + std::string(64, 'a')));
  EXPECT_FALSE(IsFileIngest("k8s.io/1/file/" + std::string(64, 'a')));
}

TEST(FileVersion, MatchesByETagElseByDateAndSize) {
  const FileVersion a{.etag = "\"1\"", .last_modified = "Mon", .size_bytes = 7};
  const FileVersion dated{.etag = "", .last_modified = "Mon", .size_bytes = 7};
  EXPECT_TRUE(a.Matches(a));
  EXPECT_FALSE(a.Matches({.etag = "\"2\"", .last_modified = "Mon", .size_bytes = 7}));
  EXPECT_FALSE(a.Matches({.etag = "\"1\"", .last_modified = "Mon", .size_bytes = 8}));
  EXPECT_FALSE(a.Matches(dated));
  EXPECT_TRUE(dated.Matches(dated));
  EXPECT_FALSE(dated.Matches({.etag = "", .last_modified = "Mon", .size_bytes = {}}));
  EXPECT_FALSE(FileVersion().Matches(FileVersion()));
  EXPECT_EQ(a.Validator(), "\"1\"");
  EXPECT_EQ(dated.Validator(), "Mon");
  EXPECT_EQ((FileVersion{.etag = "W/\"1\"", .last_modified = "Mon", .size_bytes = {}}).Validator(),
            "");
}

TEST(FileTask, RecordKeepsAllFields) {
  FileTask task;
  task.url = "https://h/f";
  task.digest = Digest::Of("x");
  task.complete = {.etag = "\"1\"", .last_modified = "Mon", .size_bytes = 0};
  task.partial = {.etag = "\"2\"", .last_modified = "", .size_bytes = {}};
  const auto read = FileTask::Decode(task.Encode());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->url, task.url);
  EXPECT_EQ(read->digest, task.digest);
  EXPECT_EQ(read->complete.etag, "\"1\"");
  EXPECT_EQ(read->complete.size_bytes, 0u);
  EXPECT_EQ(read->partial.etag, "\"2\"");
  EXPECT_EQ(read->partial.size_bytes, std::nullopt);
  EXPECT_FALSE(FileTask::Decode("\xff").ok());
}

}  // namespace
}  // namespace hearth::plugin
