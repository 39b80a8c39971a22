#include "plugin/sole_run.h"

#include <gtest/gtest.h>

#include <thread>

namespace hearth::plugin {
namespace {

TEST(SoleRunTest, OneOperatorAtATime) {
  SoleRun sole;
  ASSERT_TRUE(sole.TryBegin());
  EXPECT_FALSE(sole.TryBegin());
  EXPECT_FALSE(sole.TryBeginOwn());
  sole.AwaitOwn();
  sole.End();
  EXPECT_TRUE(sole.TryBegin());
}

TEST(SoleRunTest, TheNodesOwnRunMakesWayForAnOperator) {
  SoleRun sole;
  const auto stop = sole.TryBeginOwn();
  ASSERT_TRUE(stop);
  EXPECT_FALSE(sole.TryBeginOwn());
  EXPECT_FALSE(stop->stop_requested());
  ASSERT_TRUE(sole.TryBegin());
  EXPECT_TRUE(stop->stop_requested());
  std::thread own([&] { sole.EndOwn(); });
  sole.AwaitOwn();
  own.join();
  EXPECT_FALSE(sole.TryBeginOwn()) << "not while the operator's runs";
  sole.End();
  EXPECT_FALSE(sole.TryBeginOwn()->stop_requested()) << "another one is asked anew";
}

}  // namespace
}  // namespace hearth::plugin
