#include "base/log_line.h"

#include <gtest/gtest.h>

#include <limits>

namespace hearth {
namespace {

struct Case {
  std::string_view in;
  std::string text;  // as a text line shows it
  std::string json;  // within the quotes
};

TEST(LogLineTest, StrangersBytesComeOutEscaped) {
  using namespace std::string_view_literals;  // NOLINT: some have a zero byte
  const Case cases[] = {
      {"plain", "plain", "plain"},
      {"caf\xc3\xa9 \xe2\x86\x92 \xf0\x9f\x94\xa5", "caf\xc3\xa9 \xe2\x86\x92 \xf0\x9f\x94\xa5",
       "caf\xc3\xa9 \xe2\x86\x92 \xf0\x9f\x94\xa5"},
      {"a\nb\tc\rd", "a\\nb\\tc\\rd", "a\\u000ab\\u0009c\\u000dd"},
      {"\0\x1b[31m\x7f"sv, "\\u0000\\u001b[31m\\u007f", "\\u0000\\u001b[31m\\u007f"},
      {"\xc2\x9b\x33\x31m", "\\u009b31m", "\\u009b31m"},            // CSI as one C1 character
      {"\xe2\x80\xaegpj.exe", "\\u202egpj.exe", "\\u202egpj.exe"},  // right to left from here
      {"\xe2\x80\xa8", "\\u2028", "\\u2028"},                       // ends a line in JavaScript
      {"\xff\xfe", "\\xff\\xfe", "\\\\xff\\\\xfe"},
      {"\x80tail", "\\x80tail", "\\\\x80tail"},
      {"cut\xe2\x86", "cut\\xe2\\x86", "cut\\\\xe2\\\\x86"},
      {"\xc0\xaf", "\\xc0\\xaf", "\\\\xc0\\\\xaf"},  // overlong slash
      {"\xe0\x80\xaf", "\\xe0\\x80\\xaf", "\\\\xe0\\\\x80\\\\xaf"},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\\\xed\\\\xa0\\\\x80"},  // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"},
      {"back\\slash", "back\\\\slash", "back\\\\slash"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(Printable(one.in), one.text);
    EXPECT_EQ(LogJsonMembers("m", {{"k", one.in}}), "\"message\":\"m\",\"k\":\"" + one.json + "\"");
  }
}

TEST(LogLineTest, AMessageCannotForgeAnother) {
  EXPECT_EQ(LogTextLine("a\nb", {}), "a\\nb");
  EXPECT_EQ(
      LogTextLine("m", {{"error", "no error=\"x\""}, {"ref", "a:1"}, {"empty", ""}, {"n", 3}}),
      "m error=\"no error=\\\"x\\\"\" ref=a:1 empty=\"\" n=3");
  EXPECT_EQ(LogJsonMembers("m\",\"level\":\"x", {{"k\"", true}}),
            R"("message":"m\",\"level\":\"x","k\"":true)");
}

TEST(LogLineTest, WhatJsonHasNoNumberForIsText) {
  EXPECT_EQ(LogJsonMembers("m", {{"x", std::numeric_limits<double>::quiet_NaN()},
                                 {"y", -std::numeric_limits<double>::infinity()},
                                 {"z", 1.5}}),
            R"("message":"m","x":"nan","y":"-inf","z":1.500000)");
}

TEST(LogLineTest, LongValuesAreCutAndSayTheirLength) {
  const std::string fits(kMaxLogTextBytes, 'x');
  EXPECT_EQ(Printable(fits), fits);
  EXPECT_EQ(Printable(fits + "y"), fits + "... (4097 bytes)");
  EXPECT_EQ(LogJsonMembers("m", {{"k", fits + "yz"}}),
            "\"message\":\"m\",\"k\":\"" + fits + "... (4098 bytes)\"");
  EXPECT_EQ(LogTextLine("m", {{"k", fits + "yz"}}), "m k=" + fits + "... (4098 bytes)");
}

TEST(LogLineTest, ACutIsNeverWithinACharacter) {
  for (const std::string& wide :
       {std::string("\xc3\xa9"), std::string("\xe2\x86\x92"), std::string("\xf0\x9f\x94\xa5")}) {
    for (size_t shift = 0; shift < wide.size(); ++shift) {
      std::string text(shift, 'x');
      while (text.size() <= kMaxLogTextBytes) text += wide;
      const std::string cut = Printable(text);
      EXPECT_EQ(cut.find('\\'), std::string::npos) << wide << " shifted by " << shift;
      EXPECT_TRUE(cut.ends_with(" bytes)")) << cut.substr(cut.size() - 20);
    }
  }
}

}  // namespace
}  // namespace hearth
