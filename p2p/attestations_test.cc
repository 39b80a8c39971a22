#include "p2p/attestations.h"

#include <gtest/gtest.h>

namespace hearth::p2p {
namespace {

using Added = Attestations::Added;
using Belief = Attestations::Belief;
using Settled = Attestations::Settled;

constexpr AttesterId kAnna{1};
constexpr AttesterId kLiar{2};
constexpr AttesterId kBert{3};
constexpr SourceId kOne{1};
constexpr SourceId kTwo{2};

PieceSum Sum(uint32_t piece, std::string_view of) { return {PieceIndex{piece}, Digest::Of(of)}; }

TEST(Attestations, TheFirstWordOfAPieceIsBelievedUntilItIsJudged) {
  Attestations attestations(2, Belief::kFirstWord);
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), std::nullopt);
  EXPECT_EQ(attestations.Add(kLiar, Sum(0, "lie")), Added::kNew);
  EXPECT_EQ(attestations.Add(kBert, Sum(0, "lie")), Added::kKnown);
  EXPECT_EQ(attestations.Add(kAnna, Sum(0, "true")), Added::kConflict);
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("lie"));
}

TEST(Attestations, TheOriginsWordNamesAllWhoSaidSomethingElse) {
  Attestations attestations(1, Belief::kFirstWord);
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kBert, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(0, "true"));
  EXPECT_EQ(attestations.Settle(Sum(0, "true")), (std::vector{kLiar, kBert}));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
  EXPECT_TRUE(attestations.IsDistrusted(kLiar));
  EXPECT_FALSE(attestations.IsDistrusted(kAnna));
  EXPECT_EQ(attestations.Add(kLiar, Sum(0, "true")), Added::kIgnored);
}

TEST(Attestations, ALieAfterTheOriginsWordIsNamedInTheEnd) {
  Attestations attestations(1, Belief::kFirstWord);
  EXPECT_TRUE(attestations.Settle(Sum(0, "true")).empty());
  EXPECT_EQ(attestations.Add(kLiar, Sum(0, "lie")), Added::kConflict);
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
  const auto found = attestations.Verified([](PieceIndex) { return true; });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].attester, kLiar);
}

TEST(Attestations, WhatEnoughAgreeOnTellsThatTheFirstWordWasFalse) {
  Attestations attestations(2, Belief::kFirstWord);
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  EXPECT_TRUE(attestations.Promise(kOne, Sum(0, "lie")));
  EXPECT_FALSE(attestations.Promise(kTwo, Sum(0, "true")));
  EXPECT_TRUE(attestations.Agree(Sum(0, "true")));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
  EXPECT_EQ(attestations.Promisers(PieceIndex{0}), std::vector{kTwo});
  EXPECT_EQ(attestations.settled(PieceIndex{0}), Settled::kAgreed);
  EXPECT_FALSE(attestations.Agree(Sum(0, "true"))) << "known";
  EXPECT_FALSE(attestations.Agree(Sum(1, "first"))) << "nothing was expected";
  EXPECT_FALSE(attestations.Agree(Sum(7, "far")));
}

TEST(Attestations, TheManyDoNotOverruleWhatTheOriginSaid) {
  Attestations attestations(1, Belief::kFirstWord);
  (void)attestations.Settle(Sum(0, "true"));
  EXPECT_FALSE(attestations.Agree(Sum(0, "lie")));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
}

TEST(Attestations, AfterAWrongDigestOnlyWhatIsSettledIsBelieved) {
  Attestations first(3, Belief::kFirstWord);
  (void)first.Add(kLiar, Sum(0, "lie"));
  (void)first.Add(kAnna, Sum(0, "true"));
  (void)first.Settle(Sum(1, "own"));
  EXPECT_FALSE(first.Agree(Sum(2, "agreed")));
  EXPECT_FALSE(first.Promise(kOne, Sum(0, "true")));
  Attestations next = first.ForNextTry();
  EXPECT_EQ(next.Expected(PieceIndex{0}), std::nullopt);
  EXPECT_EQ(next.Expected(PieceIndex{1}), Digest::Of("own"));
  EXPECT_EQ(next.Expected(PieceIndex{2}), Digest::Of("agreed"));
  EXPECT_FALSE(next.Agree(Sum(0, "true")));
  EXPECT_TRUE(next.Promisers(PieceIndex{0}).empty()) << "of another try";
  const auto found = next.Verified([](PieceIndex) { return true; });
  ASSERT_EQ(found.size(), 1u) << "what was said before is not forgotten";
  EXPECT_EQ(found[0].attester, kLiar);
  EXPECT_EQ(found[0].truth, Sum(0, "true"));
}

TEST(Attestations, WithoutADigestNobodyAloneIsBelieved) {
  Attestations attestations(1, Belief::kSettled);
  (void)attestations.Add(kAnna, Sum(0, "true"));
  (void)attestations.Add(kBert, Sum(0, "true"));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), std::nullopt) << "they may be one liar's friends";
  EXPECT_FALSE(attestations.Agree(Sum(0, "true")));
  EXPECT_EQ(attestations.Expected(PieceIndex{0}), Digest::Of("true"));
}

TEST(Attestations, ASourceIsAskedOnlyForWhatItPromisedAsExpected) {
  Attestations attestations(2, Belief::kFirstWord);
  EXPECT_FALSE(attestations.Promise(kOne, Sum(0, "true"))) << "nobody attested it";
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(0, "true"));
  EXPECT_TRUE(attestations.Promise(kTwo, Sum(0, "lie")));
  EXPECT_TRUE(attestations.Agree(Sum(0, "true")));
  EXPECT_EQ(attestations.Promisers(PieceIndex{0}), std::vector{kOne});
  EXPECT_TRUE(attestations.Promisers(PieceIndex{0}).empty()) << "told once";
  EXPECT_FALSE(attestations.Promise(kOne, Sum(7, "far")));
}

TEST(Attestations, ARightDigestNamesWhoContradictedIt) {
  Attestations attestations(2, Belief::kFirstWord);
  (void)attestations.Add(kAnna, Sum(0, "true"));
  (void)attestations.Add(kLiar, Sum(0, "lie"));
  (void)attestations.Add(kAnna, Sum(1, "also"));
  const auto found = attestations.Verified([](PieceIndex) { return true; });
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].attester, kLiar);
  EXPECT_EQ(attestations.settled(PieceIndex{1}), Settled::kTrue);
}

TEST(Attestations, ARightDigestSaysNothingOfPiecesThatWereNotChecked) {
  Attestations attestations(1, Belief::kFirstWord);
  (void)attestations.Add(kLiar, Sum(0, "lie"));  // the bytes here are of an earlier life, and right
  (void)attestations.Add(kAnna, Sum(0, "true"));
  EXPECT_TRUE(attestations.Verified([](PieceIndex) { return false; }).empty());
  EXPECT_FALSE(attestations.IsDistrusted(kAnna));
}

TEST(Attestations, AFloodOfSumsIsBounded) {
  Attestations attestations(1, Belief::kFirstWord);
  for (uint32_t i = 0; i < 1000; ++i) {
    (void)attestations.Add(AttesterId{i}, Sum(0, std::to_string(i)));
    (void)attestations.Promise(SourceId{i % 64}, Sum(i, std::to_string(i)));
  }
  for (uint32_t i = 0; i < 100; ++i) (void)attestations.Agree(Sum(0, std::to_string(i)));
  EXPECT_LE(attestations.Settle(Sum(0, "true")).size(), Attestations::kMaxSumsPerPiece);
}

}  // namespace
}  // namespace hearth::p2p
