#include "store/pieces.h"

#include <gtest/gtest.h>

namespace hearth::store {
namespace {

constexpr uint64_t kPiece = 10;

Pieces Make(uint64_t size_bytes, const std::string& have) {
  PieceBitmap bitmap(PieceCount(size_bytes, kPiece));
  for (uint32_t i = 0; i < have.size(); ++i) {
    if (have[i] == '1') bitmap.Set(PieceIndex{i});
  }
  return Pieces(size_bytes, kPiece, bitmap);
}

// Writes as GrowingBlob does; the number of bytes that were new.
uint64_t Put(Pieces& pieces, uint64_t offset, uint64_t size) {
  uint64_t fresh = 0;
  while (size > 0) {
    const auto range = pieces.Begin(offset, size).value();
    CHECK(!range.busy);
    if (range.length > 0) pieces.End(offset + range.skip, range.length);
    fresh += range.length;
    offset += range.skip + range.length;
    size -= range.skip + range.length;
  }
  return fresh;
}

TEST(PiecesTest, CountsWhatIsThereFromAnyOffset) {
  struct Case {
    uint64_t size;
    std::string have;
    uint64_t offset, available;
  };
  for (const Case& c : {Case{25, "101", 0, 10}, Case{25, "101", 9, 1}, Case{25, "101", 10, 0},
                        Case{25, "101", 20, 5}, Case{25, "111", 3, 22}, Case{25, "011", 10, 15},
                        Case{25, "111", 25, 0}, Case{0, "", 0, 0}}) {
    EXPECT_EQ(Make(c.size, c.have).Available(c.offset, c.size), c.available)
        << c.have << " at " << c.offset;
  }
}

TEST(PiecesTest, BytesWithinAPieceCountAtOnce) {
  Pieces pieces = Make(25, "000");
  EXPECT_EQ(Put(pieces, 0, 4), 4u);
  EXPECT_EQ(pieces.FirstMissing(), 4u);
  EXPECT_EQ(pieces.bitmap().Count(), 0u);
  EXPECT_EQ(Put(pieces, 4, 10), 10u);
  EXPECT_EQ(pieces.FirstMissing(), 14u);
  EXPECT_EQ(pieces.bitmap().Count(), 1u);
  EXPECT_EQ(Put(pieces, 20, 5), 5u);
  EXPECT_EQ(pieces.FirstMissing(), 14u);
  EXPECT_EQ(pieces.Available(20, 100), 5u);
  EXPECT_EQ(Put(pieces, 10, 15), 6u) << "what is there is not written again";
  EXPECT_TRUE(pieces.All());
  EXPECT_EQ(pieces.PresentBytes(), 25u);
}

TEST(PiecesTest, AGapWithinAPieceIsRefused) {
  Pieces pieces = Make(25, "000");
  EXPECT_EQ(pieces.Begin(12, 3).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(Put(pieces, 10, 2), 2u);
  EXPECT_EQ(pieces.Begin(13, 3).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(Put(pieces, 12, 3), 3u);
}

TEST(PiecesTest, APieceIsHeldByOneWrite) {
  Pieces pieces = Make(25, "000");
  ASSERT_EQ(pieces.Begin(0, 5)->length, 5u);
  EXPECT_TRUE(pieces.Begin(0, 5)->busy);
  EXPECT_FALSE(pieces.Begin(10, 5)->busy);
  pieces.End(0, 0);
  EXPECT_EQ(pieces.FirstMissing(), 0u) << "a failed write leaves nothing";
  EXPECT_EQ(pieces.Begin(0, 5)->length, 5u);
}

TEST(PiecesTest, ArrivingPiecesAreBounded) {
  Pieces pieces(kPiece * 1000, kPiece, PieceBitmap(1000));
  for (uint64_t i = 0; i < Pieces::kMaxArriving; ++i) Put(pieces, i * kPiece, 1);
  EXPECT_EQ(pieces.Begin(Pieces::kMaxArriving * kPiece, 1).status().code(),
            StatusCode::kResourceExhausted);
  Put(pieces, 1, kPiece - 1);
  EXPECT_TRUE(pieces.Begin(Pieces::kMaxArriving * kPiece, 1).ok());
}

}  // namespace
}  // namespace hearth::store
