#include "plugin/label_mask.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

using Map = std::map<std::string, std::string>;

TEST(LabelMaskTest, EmptyMaskAndLabelsReplaceAll) {
  const Map labels = {{"a", "1"}};
  for (const auto& paths : {std::vector<std::string>{}, std::vector<std::string>{"labels"},
                            std::vector<std::string>{"labels.a", "labels"}}) {
    auto change = ApplyLabelMask(paths, labels);
    ASSERT_TRUE(change.ok());
    EXPECT_TRUE(change->replace);
    EXPECT_EQ(change->labels, labels);
  }
}

TEST(LabelMaskTest, OneLabelIsSetAndAMissingOneDeleted) {
  auto change = ApplyLabelMask({"labels.a.b/c", "labels.gone"}, {{"a.b/c", "1"}, {"other", "2"}});
  ASSERT_TRUE(change.ok());
  EXPECT_FALSE(change->replace);
  EXPECT_EQ(change->labels, (Map{{"a.b/c", "1"}, {"gone", ""}}));
}

TEST(LabelMaskTest, OtherFieldsAreRefusedByName) {
  for (const char* path : {"parent", "size", "labels.", "labelsx", ""}) {
    auto change = ApplyLabelMask({path}, {});
    EXPECT_EQ(change.status().code(), StatusCode::kInvalidArgument) << path;
    EXPECT_NE(change.status().message().find(path), std::string::npos);
  }
}

}  // namespace
}  // namespace hearth::plugin
