#include "cmd/pull_stop.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "base/file.h"

namespace hearth::cmd {
namespace {

namespace fs = std::filesystem;

class PullStopTest : public ::testing::Test {
 protected:
  PullStopTest() {
    std::string name = fs::temp_directory_path() / "pull_stop.XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    root_ = name;
    fs::create_directories(root_ / "ingest");
    Begin("one");
  }
  ~PullStopTest() override { (void)RemoveTree(root_); }

  void Begin(const std::string& name) const {
    fs::create_directories(root_ / "ingest" / name);
    std::ofstream(root_ / "ingest" / name / "data") << "bytes";
  }
  bool CanBegin() const { return fs::exists(root_ / "ingest"); }
  bool HasIngest(const std::string& name) const {
    return fs::exists(root_ / "ingest" / name / "data");
  }
  size_t Entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }

  fs::path root_;
};

TEST_F(PullStopTest, NothingBeginsUntilItEndsAndThenIngestsGoOn) {
  {
    PullStop stop(root_);
    EXPECT_TRUE(CanBegin());
    EXPECT_TRUE(stop.Hold().value());
    EXPECT_FALSE(CanBegin());
    EXPECT_FALSE(stop.Hold().value());
  }
  EXPECT_TRUE(HasIngest("one"));
  EXPECT_EQ(Entries(), 1U);
}

TEST_F(PullStopTest, ADirectoryThatIsMadeAnewIsHeldToo) {
  {
    PullStop stop(root_);
    EXPECT_TRUE(stop.Hold().value());
    Begin("late");
    EXPECT_TRUE(stop.Hold().value());
    EXPECT_FALSE(stop.Hold().value());
  }
  EXPECT_TRUE(HasIngest("late"));
  EXPECT_EQ(Entries(), 1U);
}

TEST_F(PullStopTest, IngestsOfAContainerdThatStartedAnewStay) {
  {
    PullStop stop(root_);
    EXPECT_TRUE(stop.Hold().value());
    Begin("new");
  }
  EXPECT_TRUE(HasIngest("new"));
  EXPECT_FALSE(HasIngest("one"));
  EXPECT_EQ(Entries(), 1U);
}

TEST_F(PullStopTest, WhatARunThatWasKilledLeftEndsWithTheNext) {
  fs::rename(root_ / "ingest", root_ / ".hearth-adopt-ingest");
  Begin("new");
  {
    PullStop stop(root_);
    EXPECT_TRUE(HasIngest("new"));
    EXPECT_EQ(Entries(), 1U);
  }
  // Killed, and containerd has not begun another since: its ingests go on at once.
  fs::rename(root_ / "ingest", root_ / ".hearth-adopt-ingest");
  PullStop stop(root_);
  EXPECT_TRUE(HasIngest("new"));
}

TEST_F(PullStopTest, OnceEndedItHoldsNothingMore) {
  PullStop stop(root_);
  EXPECT_TRUE(stop.Hold().value());
  stop.End();
  EXPECT_TRUE(HasIngest("one"));
  EXPECT_EQ(stop.Hold().status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(CanBegin());
}

TEST_F(PullStopTest, AStoreThatNeverTookABlobIsLeftAlone) {
  PullStop stop(root_ / "nowhere");
  EXPECT_FALSE(stop.Hold().value());
  EXPECT_FALSE(fs::exists(root_ / "nowhere"));
}

}  // namespace
}  // namespace hearth::cmd
