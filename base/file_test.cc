#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace hearth {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = testing::TempDir() + "hearth-file-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { std::filesystem::remove_all(root_); }

  std::filesystem::path root_;
};

TEST_F(FileTest, FdClosesWithItsOwner) {
  int number = -1;
  {
    Fd fd = OpenFile(root_ / "f", O_RDWR | O_CREAT).value();
    number = fd.get();
    const int flags = ::fcntl(number, F_GETFD);
    EXPECT_EQ(flags & FD_CLOEXEC, FD_CLOEXEC);
    Fd other = std::move(fd);
    EXPECT_FALSE(fd.valid());  // NOLINT: after move on purpose
    EXPECT_EQ(other.get(), number);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST_F(FileTest, OpenSaysWhich) {
  const auto missing = OpenFile(root_ / "missing", O_RDONLY);
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("missing"), std::string::npos);
  const Fd directory = OpenFile(root_, O_RDONLY | O_DIRECTORY).value();
  EXPECT_TRUE(OpenFileAt(directory.get(), "made", O_RDWR | O_CREAT).ok());
  EXPECT_TRUE(std::filesystem::exists(root_ / "made"));
}

TEST_F(FileTest, ReadsAndWritesAtOffsets) {
  const Fd fd = OpenFile(root_ / "f", O_RDWR | O_CREAT).value();
  const std::string text = "hello";
  ASSERT_TRUE(WriteAllAt(fd.get(), text, 3).ok());
  EXPECT_EQ(FileSize(fd.get()).value(), 8U);
  std::string out(10, 'x');
  EXPECT_EQ(ReadAt(fd.get(), out, 3).value(), 5U);
  EXPECT_EQ(out.substr(0, 5), "hello");
  EXPECT_EQ(ReadAt(fd.get(), out, 100).value(), 0U);
  EXPECT_TRUE(SyncData(fd.get()).ok());
  EXPECT_FALSE(SyncData(-1).ok());
  EXPECT_FALSE(WriteAllAt(-1, text, 0).ok());
  EXPECT_FALSE(ReadAt(-1, out, 0).ok());
}

TEST_F(FileTest, FullDiskIsResourceExhausted) {
  const auto full = OpenFile("/dev/full", O_WRONLY);
  if (!full.ok()) GTEST_SKIP() << full.status();
  const std::string text = "x";
  EXPECT_EQ(WriteAllAt(full.value().get(), text, 0).code(), StatusCode::kResourceExhausted);
}

TEST_F(FileTest, ReadFileIsBounded) {
  for (const size_t size : {0UL, 1UL, 65535UL, 65536UL, 65537UL, 200000UL}) {
    const std::string content(size, 'c');
    ASSERT_TRUE(WriteFileAtomically(root_ / "f", content).ok());
    EXPECT_EQ(ReadFile(root_ / "f", size).value(), content) << size;
    if (size == 0) continue;
    EXPECT_EQ(ReadFile(root_ / "f", size - 1).status().code(), StatusCode::kResourceExhausted);
  }
}

TEST_F(FileTest, AtomicWriteReplacesOrLeavesNothing) {
  ASSERT_TRUE(WriteFileAtomically(root_ / "f", "old", 0644).ok());
  ASSERT_TRUE(WriteFileAtomically(root_ / "f", "new", 0600).ok());
  EXPECT_EQ(ReadFile(root_ / "f", 100).value(), "new");
  struct stat info {};
  ASSERT_EQ(::stat((root_ / "f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  std::filesystem::create_directories(root_ / "d" / "inside");
  EXPECT_FALSE(WriteFileAtomically(root_ / "d", "x").ok());
  EXPECT_FALSE(WriteFileAtomically(root_ / "no" / "f", "x").ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root_), {}), 2);
}

TEST_F(FileTest, MakesAndRemovesTrees) {
  EXPECT_TRUE(MakeDirectories(root_ / "a" / "b" / "c", 0700).ok());
  EXPECT_TRUE(MakeDirectories(root_ / "a" / "b" / "c").ok());
  ASSERT_TRUE(WriteFileAtomically(root_ / "kept", "x").ok());
  EXPECT_FALSE(MakeDirectories(root_ / "kept" / "d").ok());
  std::filesystem::create_symlink(root_ / "kept", root_ / "a" / "link");
  EXPECT_TRUE(RemoveTree(root_ / "a").ok());
  EXPECT_FALSE(std::filesystem::exists(root_ / "a"));
  EXPECT_TRUE(std::filesystem::exists(root_ / "kept"));
  EXPECT_TRUE(RemoveTree(root_ / "a").ok());
  EXPECT_TRUE(SyncDirectory(root_).ok());
  EXPECT_EQ(SyncDirectory(root_ / "a").code(), StatusCode::kNotFound);
}

TEST(BootIdTest, IsTheSameTwice) {
  EXPECT_EQ(BootId().size(), 36U);
  EXPECT_EQ(BootId(), BootId());
}

}  // namespace
}  // namespace hearth
