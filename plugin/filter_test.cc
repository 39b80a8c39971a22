#include "plugin/filter.h"

#include <gtest/gtest.h>

#include <map>

namespace hearth::plugin {
namespace {

const std::map<std::string, std::string> kLabels = {
    {"containerd.io/snapshot.ref", "sha256:abc"}, {"k1", "v1"}, {"a.b", "dotted"}, {"q", "a\"b"}};

std::optional<std::string> Field(const FieldPath& path) {
  if (path[0] == "name") return "k8s.io/12/extract-1 sha256:abc";
  if (path[0] == "parent") return "";
  if (path[0] == "kind") return "committed";
  if (path[0] == "labels") return LabelField(path, kLabels);
  return std::nullopt;
}

struct Case {
  std::vector<std::string> expressions;
  bool matches;
};

TEST(FilterTest, Table) {
  const std::vector<Case> cases = {
      {{}, true},
      {{""}, true},
      {{"kind==active", ""}, true},
      {{"kind==committed"}, true},
      {{"kind==active"}, false},
      {{"kind!=active"}, true},
      {{"kind==active", "kind==committed"}, true},
      {{"kind==committed,parent==\"x\""}, false},
      {{"parent==\"\""}, true},
      {{"name"}, true},
      {{"nothing"}, false},
      {{"nothing!=x"}, true},
      {{"nothing==\"\""}, false},
      {{"labels.k1"}, true},
      {{"labels.k1==v1"}, true},
      {{"labels.k2"}, false},
      {{"labels.a.b==dotted"}, true},
      {{"labels.\"a.b\"==dotted"}, true},
      {{"labels.q==\"a\\\"b\""}, true},
      {{"labels.k1==\"\\x761\""}, true},
      {{"labels.k1==\"\\u0076\\061\""}, true},
      // As containerd asks for a snapshot by its reference: bare digest, quoted parent.
      {{"labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"\""}, true},
      {{"labels.\"containerd.io/snapshot.ref\"==sha256:abd,parent==\"\""}, false},
      {{"name~=/^k8s.io/"}, true},
      {{"name~=|extract|"}, true},
      {{"name~=\"^extract\""}, false},
      {{"name~=sha256:[a-c]+$"}, true},
      {{"kind == committed, name"}, true},
      {{"name==\"k8s.io/12/extract-1 sha256:abc\""}, true},
  };
  for (const Case& c : cases) {
    auto filter = Filter::Parse(c.expressions);
    ASSERT_TRUE(filter.ok()) << filter.status();
    EXPECT_EQ(filter->Matches(Field), c.matches) << (c.expressions.empty() ? "" : c.expressions[0]);
  }
}

TEST(FilterTest, WrongExpressionsAreInvalidArguments) {
  for (const char* text : {"=", "==x", "name==", "name=x", "name===x", "name==a b", "name==\"a",
                           "name==/a/", ",name", "name,", "labels.", "name~=\"(\"", "name==\"\\q\"",
                           "name==\"\\777\"", "name ", "name.=="}) {
    auto filter = Filter::Parse({text});
    EXPECT_EQ(filter.status().code(), StatusCode::kInvalidArgument) << text;
    EXPECT_NE(filter.status().message().find("byte"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace hearth::plugin
