#include "plugin/proxy_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv/kv.h"
#include "plugin/file_index.h"

namespace hearth::plugin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ProxyRule Rule(std::string match) {
  ProxyRule rule;
  rule.match = std::move(match);
  return rule;
}

ProxyRules Compile(std::vector<ProxyRule> rules, std::string_view filter = "") {
  auto compiled = ProxyRules::Compile(rules, filter);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return *compiled;
}

TEST(ProxyRules, FirstMatchCountsWithOrWithoutQuery) {
  const ProxyRules rules = Compile({Rule(R"(\.bin$)"), Rule("v=2"), Rule("^http://h/")});
  EXPECT_EQ(rules.Find("http://x/a.bin?Expires=1")->match, R"(\.bin$)");
  EXPECT_EQ(rules.Find("http://x/a?v=2")->match, "v=2");
  EXPECT_EQ(rules.Find("http://h/a")->match, "^http://h/");
  EXPECT_EQ(rules.Find("https://h/a"), nullptr);
}

TEST(ProxyRules, BadRuleSaysWhich) {
  const auto bad = ProxyRules::Compile({Rule("a"), Rule("(")}, "");
  EXPECT_THAT(bad.status().message(), HasSubstr("rule 2"));
  EXPECT_FALSE(ProxyRules::Compile({Rule("")}, "").ok());
}

TEST(ProxyRules, UseTlsNamesOneFileFromBothSides) {
  ProxyRule rule = Rule("^http://h/");
  rule.use_tls = true;
  rule.tag = "t";
  const ProxyRules rules = Compile({rule});
  EXPECT_EQ(rules.Origin("http://h/f"), "https://h/f");
  EXPECT_EQ(rules.Origin("http://h:80/f"), "http://h:80/f");
  EXPECT_EQ(rules.Name("http://h/f", {}).TaskId().value(),
            rules.Name("https://h/f", {}).TaskId().value());
}

TEST(ProxyRules, OnlyAPatternWithAHostNamesOne) {
  const ProxyRules rules = Compile({Rule(".*"), Rule(R"(^https?://(a|b)\.example\.com/x)"),
                                    Rule("^https://c:8443/"), Rule("^https://[^/]+\\.d/")});
  for (const auto& [host, port, named] : {std::tuple{"a.example.com", 443, true},
                                          {"A.example.com", 80, true},
                                          {"a.example.com", 22, false},
                                          {"xa.example.com", 443, false},
                                          {"a.example.com.evil", 443, false},
                                          {"c", 8443, true},
                                          {"c", 443, false},
                                          {"x.d", 443, true},
                                          {"anything", 443, false}}) {
    EXPECT_EQ(rules.NamesHost(host, static_cast<uint16_t>(port)), named) << host << port;
  }
}

class FileIndexTest : public testing::Test {
 protected:
  FileIndex::Entry Store(const FileName& name) {
    auto entry = index_.Find(name);
    EXPECT_TRUE(entry.ok()) << entry.status();
    entry->task.digest = Digest::Of(name.url);
    EXPECT_TRUE(index_.Save(*entry, name, kv::Sync::kNo).ok());
    return *entry;
  }
  bool Has(const FileName& name) { return index_.Find(name)->task.digest.has_value(); }

  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FileIndex index_{*kv_};
  const ProxyRules whole_ = Compile({});
  const ProxyRules seed_ = Compile({}, "Expires&Signature&ns");
  const ProxyRules short_ = Compile({}, "Expires&Signature");
};

TEST_F(FileIndexTest, FilterOfEitherSideFindsIt) {
  const std::string url = "https://h/f?Expires=1&Signature=a";
  Store(short_.Name(url, {}));
  EXPECT_TRUE(Has(short_.Name("https://H:443/f?Signature=b", {})));
  EXPECT_TRUE(Has(seed_.Name(url + "&ns=docker.io", {})));
  EXPECT_FALSE(Has(short_.Name(url + "&ns=docker.io", {})));
  EXPECT_FALSE(Has(short_.Name("http://h/f", {})));
}

TEST_F(FileIndexTest, FilterThatItWasStoredUnderHoldsOn) {
  Store(whole_.Name("https://h/f?ns=a&v=1", {}));
  EXPECT_TRUE(Has(short_.Name("https://h/f?v=1&ns=b", {})));
  EXPECT_FALSE(Has(whole_.Name("https://h/f?v=2", {})));
}

TEST_F(FileIndexTest, TagAndApplicationMakeOtherFiles) {
  FileLabels blue;
  blue.tag = "blue";
  Store(whole_.Name("https://h/f", blue));
  EXPECT_TRUE(Has(whole_.Name("https://h/f", blue)));
  EXPECT_FALSE(Has(whole_.Name("https://h/f", {})));
  EXPECT_EQ(index_.AtAddress(whole_.Name("https://h/f?x=1", {}))->size(), 1u);
}

TEST(FileName, SaysWhatDiffersAndNoSecret) {
  EXPECT_THAT(DifferingParameters("http://h/f?a=1&b=2&S=1", "http://h/f?b=3&S=2&c=4", {"S"}),
              ElementsAre("a", "b", "c"));
  EXPECT_EQ(WithoutSecrets("https://u:p@h/f?Signature=x&v=1"), "https://h/f?Signature=***&v=1");
  FileName name;
  name.url = "https://u:p@h/f?Signature=x&v=1";
  name.filter = {"Signature"};
  EXPECT_EQ(name.ShownUrl().value(), "https://h/f?v=1");
}

}  // namespace
}  // namespace hearth::plugin
