#include "plugin/byte_range.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

TEST(ByteRange, Table) {
  struct Case {
    std::string header;
    uint64_t size_bytes;
    std::optional<ByteRange> want;
  };
  const Case cases[] = {
      {"bytes=0-", 10, ByteRange{0, 10}},
      {"bytes=3-", 10, ByteRange{3, 10}},
      {"bytes=3-5", 10, ByteRange{3, 6}},
      {"bytes=9-9", 10, ByteRange{9, 10}},
      {"bytes=3-99999999999999999999999", 10, ByteRange{3, 10}},
      {"bytes=-4", 10, ByteRange{6, 10}},
      {"bytes=-40", 10, ByteRange{0, 10}},
      {"", 10, std::nullopt},
      {"bytes=", 10, std::nullopt},
      {"bytes=-", 10, std::nullopt},
      {"bytes=5-3", 10, std::nullopt},
      {"bytes=a-3", 10, std::nullopt},
      {"bytes=1-b", 10, std::nullopt},
      {"bytes=+1-3", 10, std::nullopt},
      {"bytes=0-1,3-4", 10, std::nullopt},
      {"items=0-1", 10, std::nullopt},
  };
  for (const Case& c : cases) {
    const auto range = ByteRange::Parse(c.header, c.size_bytes);
    ASSERT_TRUE(range.ok()) << c.header << " " << range.status();
    EXPECT_EQ(*range, c.want) << c.header;
  }
}

TEST(ByteRange, OutsideOfTheBody) {
  for (const char* header :
       {"bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"}) {
    EXPECT_EQ(ByteRange::Parse(header, 10).status().code(), StatusCode::kOutOfRange) << header;
  }
  EXPECT_EQ(ByteRange::Parse("bytes=0-", 0).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(ByteRange::Parse("bytes=-1", 0).status().code(), StatusCode::kOutOfRange);
}

TEST(ByteRange, ContentRangeNamesTheLastByte) {
  EXPECT_EQ((ByteRange{3, 6}).ContentRange(10), "bytes 3-5/10");
}

}  // namespace
}  // namespace hearth::plugin
