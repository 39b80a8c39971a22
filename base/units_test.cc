#include "base/units.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

using std::chrono::nanoseconds;

TEST(UnitsTest, DecimalIsDigitsAndNothingElse) {
  EXPECT_EQ(ParseDecimal("0"), 0u);
  EXPECT_EQ(ParseDecimal("18446744073709551615"), UINT64_MAX);
  for (const char* bad : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"}) {
    EXPECT_EQ(ParseDecimal(bad), std::nullopt) << bad;
  }
}

TEST(UnitsTest, ByteSizes) {
  const std::pair<const char*, uint64_t> good[] = {
      {"0", 0},
      {"1024", 1024},
      {"1B", 1},
      {"128MiB", 134217728},
      {"1.5GB", 1500000000},
      {"20 GiB", 21474836480},
      {" 1KiB ", 1024},
      {"1K", 1024},
      {"1KB", 1000},
      {"0.5KiB", 512},
      {"8TiB", 8796093022208},
  };
  for (const auto& [text, bytes] : good) EXPECT_EQ(ParseByteSize(text).value(), bytes) << text;
  for (const char* text : {"", " ", "MiB", "-1", "+1", "1mib", "1 M iB", "1.2.3", ".", "1e3", "80%",
                           "99999999999TiB", "0x10", "1MiBs", "nan", "inf"}) {
    const auto parsed = ParseByteSize(text);
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument) << text;
    EXPECT_NE(parsed.status().message().find('"' + std::string(text) + '"'), std::string::npos);
  }
}

TEST(UnitsTest, Durations) {
  const std::pair<const char*, nanoseconds> good[] = {
      {"0", nanoseconds(0)},
      {"0s", nanoseconds(0)},
      {"500ms", std::chrono::milliseconds(500)},
      {"5s", std::chrono::seconds(5)},
      {"1.5s", std::chrono::milliseconds(1500)},
      {"10m", std::chrono::minutes(10)},
      {"24h", std::chrono::hours(24)},
      {"7d", std::chrono::hours(168)},
      {"1h30m", std::chrono::minutes(90)},
      {"1ns", nanoseconds(1)},
      {"2us", nanoseconds(2000)},
  };
  for (const auto& [text, want] : good) EXPECT_EQ(ParseDuration(text).value(), want) << text;
  for (const char* text :
       {"", "5", "s", "5 s", "-5s", "5S", "5sec", "1h30", "1e3s", "99999999999d", "5s-", "..s"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(UnitsTest, Formats) {
  const std::pair<uint64_t, const char*> sizes[] = {
      {0, "0 B"},
      {17, "17 B"},
      {1023, "1023 B"},
      {1024, "1.0 KiB"},
      {348160, "340 KiB"},
      {1288490189, "1.2 GiB"},
      {UINT64_MAX, "16777216 TiB"},
  };
  for (const auto& [bytes, text] : sizes) EXPECT_EQ(FormatByteSize(bytes), text);
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(85)), "85ms");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(1500)), "1.5s");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(123)), "2m03s");
}

}  // namespace
}  // namespace hearth
