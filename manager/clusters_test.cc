#include "manager/clusters.h"

#include <gtest/gtest.h>

namespace hearth::manager {
namespace {

class ClustersTest : public ::testing::Test {
 protected:
  ClustersTest() { Restart(); }
  void Restart() { clusters_ = Clusters::Open(*kv_, clock_).value(); }

  FakeClock clock_;
  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  std::unique_ptr<Clusters> clusters_;
};

TEST_F(ClustersTest, AreMadeChangedAndRemovedAndOutliveARestart) {
  EXPECT_EQ(clusters_->Ensure("default")->id, 1u);
  EXPECT_EQ(clusters_->Create("edge", "the edge")->id, 2u);
  EXPECT_EQ(clusters_->Create("edge", "").status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(clusters_->Create("a b", "").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(clusters_->Create("", "").status().code(), StatusCode::kInvalidArgument);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(clusters_->SetBio(2, "another")->bio, "another");
  EXPECT_EQ(clusters_->SetBio(7, "").status().code(), StatusCode::kNotFound);
  Restart();
  EXPECT_EQ(clusters_->Find(2)->bio, "another");
  EXPECT_GT(clusters_->Find(2)->updated, clusters_->Find(2)->created);
  EXPECT_EQ(clusters_->Ensure("edge")->id, 2u);
  EXPECT_EQ(clusters_->Remove(2), OkStatus());
  EXPECT_EQ(clusters_->Remove(2).code(), StatusCode::kNotFound);
  EXPECT_EQ(clusters_->List().size(), 1u);
}

// A script that knows cluster 2 must not find another one under that number.
TEST_F(ClustersTest, ANumberIsNotGivenAgain) {
  EXPECT_EQ(clusters_->Create("a", "")->id, 1u);
  EXPECT_EQ(clusters_->Create("b", "")->id, 2u);
  EXPECT_EQ(clusters_->Remove(2), OkStatus());
  Restart();
  EXPECT_EQ(clusters_->Create("b", "")->id, 3u);
}

TEST_F(ClustersTest, AreNotMoreThanTheirLimit) {
  for (size_t i = 0; i < Clusters::kMaxClusters; ++i) {
    ASSERT_TRUE(clusters_->Create("c" + std::to_string(i), "").ok());
  }
  EXPECT_EQ(clusters_->Create("x", "").status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace hearth::manager
