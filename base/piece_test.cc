#include "base/piece.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

// "1.1" → a bitmap with the first and third piece.
PieceBitmap Bits(std::string_view picture) {
  PieceBitmap bitmap(static_cast<uint32_t>(picture.size()));
  for (uint32_t i = 0; i < picture.size(); ++i) {
    if (picture[i] == '1') bitmap.Set(PieceIndex{i});
  }
  return bitmap;
}

TEST(PieceTest, SizeIsClampedPowerOfTwo) {
  constexpr uint64_t kMiB = 1024 * 1024;
  const std::pair<uint64_t, uint64_t> cases[] = {
      {0, kMiB / 4},           {1, kMiB / 4},
      {256 * kMiB, kMiB / 4},  {256 * kMiB + 1024, kMiB / 2},
      {300 * kMiB, kMiB / 2},  {1024 * kMiB, kMiB},
      {4096 * kMiB, 4 * kMiB}, {1'000'000 * kMiB, 4 * kMiB},
      {UINT64_MAX, 4 * kMiB},
  };
  for (const auto& [blob, piece] : cases) EXPECT_EQ(PieceSizeFor(blob), piece) << blob;
}

TEST(PieceTest, CountCoversTheLastByte) {
  EXPECT_EQ(PieceCount(0, 10), 0U);
  EXPECT_EQ(PieceCount(1, 10), 1U);
  EXPECT_EQ(PieceCount(10, 10), 1U);
  EXPECT_EQ(PieceCount(11, 10), 2U);
}

TEST(PieceBitmapTest, CountsAndPrefix) {
  struct Case {
    const char* have;
    uint32_t count;
    uint32_t prefix;
    bool all;
  };
  const Case cases[] = {
      {"", 0, 0, true},          {".", 0, 0, false},         {"1", 1, 1, true},
      {"11.1", 3, 2, false},     {".111", 3, 0, false},      {"11111111", 8, 8, true},
      {"111111111", 9, 9, true}, {"11111111.", 8, 8, false}, {"1111111.1", 8, 7, false},
  };
  for (const auto& [have, count, prefix, all] : cases) {
    const PieceBitmap bitmap = Bits(have);
    EXPECT_EQ(bitmap.Count(), count) << have;
    EXPECT_EQ(bitmap.PrefixLength(), prefix) << have;
    EXPECT_EQ(bitmap.All(), all) << have;
  }
}

TEST(PieceBitmapTest, SetAndClearTouchOnePiece) {
  PieceBitmap bitmap(20);
  for (uint32_t i = 0; i < 20; ++i) {
    bitmap.Set(PieceIndex{i});
    bitmap.Set(PieceIndex{i});
    EXPECT_EQ(bitmap.Count(), 1U);
    EXPECT_TRUE(bitmap.Has(PieceIndex{i}));
    bitmap.Clear(PieceIndex{i});
    EXPECT_EQ(bitmap.Count(), 0U);
  }
}

TEST(PieceBitmapTest, EncodedFormIsLowestBitFirst) {
  EXPECT_EQ(Bits("1.1").Encode(), "\x05");
  EXPECT_EQ(Bits("........1").Encode(), std::string("\0\1", 2));
  for (const char* picture : {"", "1", "1.1.1.1.", "1........11"}) {
    const PieceBitmap bitmap = Bits(picture);
    EXPECT_EQ(PieceBitmap::Decode(bitmap.Encode(), bitmap.size()).value().Encode(),
              bitmap.Encode());
  }
}

TEST(PieceBitmapTest, DamagedFormsAreDataLoss) {
  const std::pair<std::string, uint32_t> cases[] = {{"", 1},     {"\x01\x01", 8}, {"\x01", 9},
                                                    {"\x08", 3}, {"\x80", 7},     {"\x01", 0}};
  for (const auto& [bytes, pieces] : cases) {
    EXPECT_EQ(PieceBitmap::Decode(bytes, pieces).status().code(), StatusCode::kDataLoss) << pieces;
  }
}

TEST(PieceBitmapDeathTest, PieceBeyondTheEndIsABug) {
  PieceBitmap bitmap(8);
  EXPECT_DEATH(bitmap.Set(PieceIndex{8}), "CHECK");
}

}  // namespace
}  // namespace hearth
