#include "plugin/snapshot_names.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

const std::string kChain = "sha256:" + std::string(64, 'a');

class SnapshotNamesTest : public ::testing::Test {
 protected:
  // As a Stat of a name that the store has, or has not.
  Result<store::SnapshotInfo> Ask(const std::string& ns, const std::string& name, bool known) {
    if (!known) return names_.OnStat(ns, name, NotFound("no such snapshot"));
    store::SnapshotInfo info;
    info.name = name;
    info.kind = store::SnapshotKind::kActive;
    return names_.OnStat(ns, name, info);
  }

  SnapshotNames names_;
};

TEST_F(SnapshotNamesTest, KeyStandsBehindNamespaceAndNumber) {
  EXPECT_EQ(SnapshotNames::KeyOf("hearth/3/" + kChain), kChain);
  EXPECT_EQ(SnapshotNames::KeyOf("k8s.io/17/a/b c"), "a/b c");
  EXPECT_EQ(SnapshotNames::KeyOf("k8s.io/17"), "");
  EXPECT_EQ(SnapshotNames::KeyOf(""), "");
}

TEST_F(SnapshotNamesTest, KeyOfAnUnpackNamesItsChain) {
  const auto chain = SnapshotNames::ChainOfUnpack("k8s.io/12/extract-123-a_B- " + kChain);
  ASSERT_TRUE(chain.has_value());
  EXPECT_EQ(chain->ToString(), kChain);
  const std::vector<std::string> others = {
      "k8s.io/12/" + kChain,           "k8s.io/12/extract-1",
      "k8s.io/12/extract-1 sha256:ab", "k8s.io/12/box extract-1 " + kChain,
      "extract-1 " + kChain,           ""};
  for (const std::string& name : others) {
    EXPECT_FALSE(SnapshotNames::ChainOfUnpack(name).has_value()) << name;
  }
}

TEST_F(SnapshotNamesTest, UnknownNamesGetAStandInOnlyWhileTheyAreLearned) {
  EXPECT_EQ(Ask("k8s.io", "k8s.io/1/box", false).status().code(), StatusCode::kNotFound);
  const auto learned = names_.Learn("k8s.io", [&]() -> Status {
    const auto lost = Ask("k8s.io", "hearth/7/" + kChain, false);
    EXPECT_TRUE(lost.ok());
    EXPECT_EQ(lost->name, "hearth/7/" + kChain);
    EXPECT_EQ(Ask("k8s.io", "k8s.io/2/box", true)->kind, store::SnapshotKind::kActive);
    // Of another namespace: its own list, which is none of ours.
    EXPECT_EQ(Ask("default", "default/1/box", false).status().code(), StatusCode::kNotFound);
    return OkStatus();
  });
  ASSERT_TRUE(learned.ok()) << learned.status();
  ASSERT_EQ(learned->size(), 2u);
  EXPECT_EQ(learned->at(kChain).name, "hearth/7/" + kChain);
  EXPECT_FALSE(learned->at(kChain).known);
  EXPECT_TRUE(learned->at("box").known);
  EXPECT_EQ(Ask("k8s.io", "hearth/7/" + kChain, false).status().code(), StatusCode::kNotFound);
}

TEST_F(SnapshotNamesTest, WithoutANamespaceTheNameTells) {
  const auto learned = names_.Learn("default", [&]() -> Status {
    EXPECT_TRUE(Ask("", "default/4/box", false).ok());
    EXPECT_EQ(Ask("", "k8s.io/9/box", false).status().code(), StatusCode::kNotFound);
    return OkStatus();
  });
  ASSERT_TRUE(learned.ok()) << learned.status();
  EXPECT_EQ(learned->at("box").name, "default/4/box");
}

TEST_F(SnapshotNamesTest, TwoNamesOfOneKeyAreAskedAgain) {
  const auto learn = [&](bool other) {
    return names_.Learn("default", [&, other]() -> Status {
      EXPECT_TRUE(Ask("", "hearth/1/" + kChain, false).ok());
      if (other) {
        EXPECT_TRUE(Ask("", "hearth/2/" + kChain, false).ok());
      }
      return OkStatus();
    });
  };
  EXPECT_EQ(learn(true).status().code(), StatusCode::kAborted);
  EXPECT_TRUE(learn(false).ok());
}

TEST_F(SnapshotNamesTest, AFailedListTeachesNothing) {
  const auto learned = names_.Learn("default", [&]() -> Status {
    EXPECT_TRUE(Ask("", "default/4/box", false).ok());
    return Unavailable("gone");
  });
  EXPECT_EQ(learned.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Ask("", "default/4/box", false).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace hearth::plugin
