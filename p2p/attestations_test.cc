#include "p2p/attestations.h"

#include <gtest/gtest.h>

namespace hearth::p2p {
namespace {

using Added = Attestations::Added;

constexpr AttesterId kAnna{1};
constexpr AttesterId kLiar{2};
constexpr AttesterId kBert{3};
constexpr SourceId kOne{1};
constexpr SourceId kTwo{2};

PieceSum Sum(uint32_t piece, std::string_view of) { return {PieceIndex{piece}, Digest::Of(of)}; }

TEST(Attestations, TheFirstWordOfAPieceIsBelievedUntilItIsJudged) {
  Attestations attestations(2, true);
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), std::nullopt);
  EXPECT_EQ(attestations.Add(kLiar, Sum(0, "lie")), Added::kNew);
  EXPECT_EQ(attestations.Add(kBert, Sum(0, "lie")), Added::kKnown);
  EXPECT_EQ(attestations.Add(kAnna, Sum(0, "true")), Added::kConflict);
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("lie"));
  EXPECT_EQ(attestations.Attester(PieceIndex{0}), kLiar);
}

TEST(Attestations, TheOriginsWordNamesAllWhoSaidSomethingElse) {
  Attestations attestations(1, true);
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kBert, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(0, "true"));
  EXPECT_EQ(attestations.Settle(Sum(0, "true")), (std::vector{kLiar, kBert}));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
  EXPECT_TRUE(attestations.IsDistrusted(kLiar));
  EXPECT_FALSE(attestations.IsDistrusted(kAnna));
  EXPECT_EQ(attestations.Add(kLiar, Sum(0, "true")), Added::kIgnored);
}

TEST(Attestations, ADistrustedAttestersWordGoesAndTheNextOneStands) {
  Attestations attestations(3, true);
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(0, "true"));
  (void)attestations.Add(kLiar, Sum(1, "alone"));
  (void)attestations.Add(kLiar, Sum(2, "shared"));
  (void)attestations.Add(kAnna, Sum(2, "shared"));
  EXPECT_EQ(attestations.Distrust(kLiar), (std::vector{PieceIndex{0}, PieceIndex{1}}));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
  EXPECT_EQ(attestations.Expected(PieceIndex{1}), std::nullopt);
  EXPECT_EQ(attestations.Attester(PieceIndex{2}), kAnna);
  EXPECT_TRUE(attestations.Distrust(kLiar).empty()) << "once";
}

TEST(Attestations, WithoutADigestNobodyAloneIsBelieved) {
  Attestations attestations(1, false);
  (void)attestations.Add(kAnna, Sum(0, "true"));
  (void)attestations.Add(kBert, Sum(0, "true"));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), std::nullopt) << "they may be one liar's friends";
  (void)attestations.Settle(Sum(0, "true"));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
}

TEST(Attestations, ASourceIsAskedOnlyForWhatItPromisedAsExpected) {
  Attestations attestations(2, true);
  EXPECT_FALSE(attestations.Promise(kOne, Sum(0, "true"))) << "nobody attested it";
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(0, "true"));
  EXPECT_TRUE(attestations.Promise(kTwo, Sum(0, "lie")));
  (void)attestations.Distrust(kLiar);
  EXPECT_EQ(attestations.Promisers(PieceIndex{0}), std::vector{kOne});
  EXPECT_TRUE(attestations.Promisers(PieceIndex{0}).empty()) << "told once";
  EXPECT_FALSE(attestations.Promise(kOne, Sum(7, "far")));
}

TEST(Attestations, ARightDigestNamesWhoContradictedIt) {
  Attestations attestations(2, true);
  (void)attestations.Add(kAnna, Sum(0, "true"));
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(1, "also"));
  EXPECT_EQ(attestations.SettleExpected(), std::vector{kLiar});
  EXPECT_TRUE(attestations.IsSettled(PieceIndex{1}));
}

TEST(Attestations, SuspectsAreContestedPiecesThenOneOfEachAttesterInTurn) {
  Attestations attestations(6, true);
  for (const uint32_t piece : {0u, 1u, 2u}) (void)attestations.Add(kAnna, Sum(piece, "a"));
  for (const uint32_t piece : {3u, 4u}) (void)attestations.Add(kBert, Sum(piece, "b"));
  (void)attestations.Add(kLiar, Sum(4, "lie"));
  (void)attestations.Settle(Sum(5, "own"));
  const auto suspects = attestations.Suspects(10);
  ASSERT_EQ(suspects.size(), 5u) << "not what this node saw itself";
  EXPECT_EQ(suspects[0], PieceIndex{4});
  EXPECT_EQ(suspects[1], PieceIndex{0});
  EXPECT_EQ(suspects[2], PieceIndex{3});
  EXPECT_EQ(attestations.Suspects(2).size(), 2u);
}

TEST(Attestations, AFloodOfSumsIsBounded) {
  Attestations attestations(1, true);
  for (uint32_t i = 0; i < 1000; ++i) {
    (void)attestations.Add(AttesterId{i}, Sum(0, std::to_string(i)));
    (void)attestations.Promise(SourceId{i % 64}, Sum(i, std::to_string(i)));
  }
  EXPECT_LE(attestations.Settle(Sum(0, "true")).size(), Attestations::kMaxSumsPerPiece);
}

}  // namespace
}  // namespace hearth::p2p
