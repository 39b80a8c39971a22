#include "cmd/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

namespace hearth::cmd {
namespace {

class OutputFileTest : public testing::Test {
 protected:
  OutputFileTest() {
    char name[] = "/tmp/hearth-output-XXXXXX";
    CHECK(mkdtemp(name) != nullptr);
    folder_ = name;
  }
  ~OutputFileTest() override { CHECK(RemoveTree(folder_).ok()); }

  std::string Text(const std::string& name) {
    const auto text = ReadFile(folder_ / name, 1 << 20);
    return text.ok() ? *text : "(none)";
  }

  std::filesystem::path folder_;
};

TEST_F(OutputFileTest, AppearsOnlyWhenWhole) {
  auto file = OutputFile::Open(folder_ / "f", 5);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append("hel").ok());
  EXPECT_EQ(Text("f"), "(none)");
  ASSERT_TRUE(file->Append("lo").ok());
  ASSERT_TRUE(file->Finish(Digest::Of("hello")).ok());
  EXPECT_EQ(Text("f"), "hello");
  EXPECT_EQ(Text("f.part"), "(none)");
}

TEST_F(OutputFileTest, GoesOnWhereAnEarlierRunStopped) {
  {
    auto first = OutputFile::Open(folder_ / "f", 5);
    ASSERT_TRUE(first->Append("hel").ok());
  }
  auto second = OutputFile::Open(folder_ / "f", 5);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->offset_bytes(), 3u);
  ASSERT_TRUE(second->Append("lo").ok());
  EXPECT_TRUE(second->Finish(Digest::Of("hello")).ok());
}

TEST_F(OutputFileTest, PartOfAnotherFileIsThrownAway) {
  {
    auto first = OutputFile::Open(folder_ / "f", 5);
    ASSERT_TRUE(first->Append("xyz").ok());
  }
  auto second = OutputFile::Open(folder_ / "f", 5);
  ASSERT_TRUE(second->Append("lo").ok());
  EXPECT_EQ(second->Finish(Digest::Of("hello")).code(), StatusCode::kDataLoss);
  EXPECT_EQ(second->offset_bytes(), 0u);
  ASSERT_TRUE(second->Append("hello").ok());
  EXPECT_TRUE(second->Finish(Digest::Of("hello")).ok());
  EXPECT_EQ(Text("f"), "hello");
  // Longer than the file can be.
  ASSERT_TRUE(WriteFileAtomically(folder_ / "g.part", "0123456789").ok());
  EXPECT_EQ(OutputFile::Open(folder_ / "g", 5)->offset_bytes(), 0u);
}

TEST_F(OutputFileTest, DirectoryIsRefused) {
  const auto file = OutputFile::Open(folder_, 5);
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(file.status().message(), testing::HasSubstr("is a directory"));
}

}  // namespace
}  // namespace hearth::cmd
