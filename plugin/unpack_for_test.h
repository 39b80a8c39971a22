// UnpackTest: unpacks bytes into a layer root that lies among canaries.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "plugin/compress_for_test.h"
#include "plugin/scratch_tree.h"
#include "plugin/unpacker.h"

namespace hearth::plugin {

// Every test has a canary beside the layer root that must stay as it is.
class UnpackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: sets owners and makes devices";
    root_ = scratch_.Make("above/fs");
    std::ofstream(scratch_.path() / "above/canary") << "alive";
    std::ofstream(scratch_.path() / "canary") << "alive";
    canaries_ = Canaries();
  }
  void TearDown() override {
    if (root_.empty()) return;
    EXPECT_EQ(Canaries(), canaries_);
  }

  std::vector<std::string> Canaries() const {
    std::vector<std::string> lines;
    for (const auto& directory : {scratch_.path(), scratch_.path() / "above"}) {
      for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        lines.push_back(entry.path().string() + " " + Describe(entry.path()));
      }
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  }

  Result<Unpacked> UnpackBytes(const std::string& bytes, bool bottom = false,
                               std::vector<std::filesystem::path> lower = {}) {
    StringSource source(bytes, 10'000);
    UnpackOptions options;
    options.root = root_;
    options.bottom = bottom;
    options.lower = std::move(lower);
    return Unpack(source, options, {});
  }
  std::vector<std::string> Tree() const { return DescribeTree(root_); }

  ScratchTree scratch_;
  std::filesystem::path root_;
  std::vector<std::string> canaries_;
};

}  // namespace hearth::plugin
