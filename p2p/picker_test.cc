#include "p2p/picker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <string_view>

namespace hearth::p2p {
namespace {

constexpr SourceId kA{1};
constexpr SourceId kB{2};
constexpr SourceId kC{3};

// A picker drawn: `have` is ours, then what source 1, 2, 3 … have; 1 = there, . = not.
Picker Draw(std::string_view have, std::vector<std::string_view> sources, uint64_t seed = 1) {
  Picker picker(static_cast<uint32_t>(have.size()), seed);
  for (uint32_t piece = 0; piece < have.size(); ++piece) {
    if (have[piece] == '1') picker.SetPresent(PieceIndex{piece});
  }
  for (uint32_t source = 0; source < sources.size(); ++source) {
    picker.AddSource(SourceId{source + 1});
    for (uint32_t piece = 0; piece < have.size(); ++piece) {
      if (sources[source][piece] == '1') {
        picker.SourceHas(SourceId{source + 1}, PieceIndex{piece});
      }
    }
  }
  return picker;
}

// The piece picked, or -1.
int Want(Picker& picker, SourceId source) {
  const auto piece = picker.Pick(source);
  return piece ? static_cast<int>(*piece) : -1;
}

TEST(Picker, PicksOnlyWhatWeLackAndTheSourceHas) {
  Picker picker = Draw("1..1", {"11.1", "1..1", "...."});
  EXPECT_EQ(Want(picker, kA), 1);
  EXPECT_EQ(Want(picker, kB), -1);
  EXPECT_EQ(Want(picker, kC), -1);
}

TEST(Picker, RarestFirstWhateverTheSeed) {
  for (uint64_t seed = 1; seed < 50; ++seed) {
    Picker picker = Draw("......", {"111111", "11.111", "111.11", "11.111"}, seed);
    EXPECT_EQ(Want(picker, kA), 2) << "seed " << seed;
  }
}

TEST(Picker, OfEquallyRarePiecesSeedsPickDifferentOnes) {
  std::set<int> picked;
  for (uint64_t seed = 1; seed < 60; ++seed) {
    Picker picker = Draw("......", {"111111"}, seed);
    picked.insert(Want(picker, kA));
  }
  EXPECT_EQ(picked, (std::set<int>{0, 1, 2, 3, 4, 5}));
}

TEST(Picker, TheReadersWindowComesBeforeTheRarest) {
  Picker picker = Draw("1.....", {"111111", "11111.", "11111."});
  picker.SetWindow({PieceIndex{1}, 2});
  EXPECT_EQ(Want(picker, kA), 1);
  picker.Asked(kA, PieceIndex{1});
  EXPECT_EQ(Want(picker, kA), 2);
  picker.Asked(kA, PieceIndex{2});
  EXPECT_EQ(Want(picker, kA), 5) << "the window is asked for; now the rarest";
}

TEST(Picker, AWindowBeyondTheEndIsCutNotAnError) {
  Picker picker = Draw("11", {"11"});
  picker.SetWindow({PieceIndex{1}, 100});
  EXPECT_EQ(Want(picker, kA), -1);
}

TEST(Picker, AnEndedRequestGivesItsPieceBack) {
  Picker picker = Draw("..", {"1.", "1."});
  picker.Asked(kA, PieceIndex{0});
  EXPECT_EQ(picker.Picture(), "r.");
  EXPECT_EQ(Want(picker, kB), -1);
  picker.Ended(kA, PieceIndex{0});
  EXPECT_EQ(picker.Picture(), "..");
  EXPECT_EQ(Want(picker, kB), 0);
}

TEST(Picker, APieceAskedForTwiceIsFreeOnlyWhenBothHaveEnded) {
  Picker picker = Draw("1.1", {"111", "111", "111"});
  picker.Asked(kA, PieceIndex{1});
  picker.Asked(kB, PieceIndex{1});
  picker.Ended(kA, PieceIndex{1});
  EXPECT_EQ(picker.unasked(), 0u) << "the duplicate still runs";
  EXPECT_EQ(Want(picker, kC), -1);
  picker.SetPresent(PieceIndex{1});
  picker.Ended(kB, PieceIndex{1});
  EXPECT_EQ(picker.missing(), 0u);
  EXPECT_EQ(picker.unasked(), 0u);
}

TEST(Picker, TheOriginsLeasesDoNotMakeAPieceCommon) {
  Picker picker = Draw("..", {"11", "1."});
  picker.AddSource(kOriginSource);
  picker.SourceHas(kOriginSource, PieceIndex{1});
  EXPECT_EQ(picker.Holders(PieceIndex{1}), 1u);
  EXPECT_EQ(Want(picker, kA), 1);
}

TEST(Picker, ARunStaysInsideTheLeaseAndItsLimit) {
  Picker picker = Draw("..1.....", {"........"});
  picker.AddSource(kOriginSource);
  for (uint32_t piece = 1; piece < 7; ++piece) {
    picker.SourceHas(kOriginSource, PieceIndex{piece});
  }
  picker.SetWindow({PieceIndex{3}, 1});
  EXPECT_EQ(picker.PickRun(kOriginSource, 8), (PieceRun{PieceIndex{3}, 4}));
  EXPECT_EQ(picker.PickRun(kOriginSource, 2), (PieceRun{PieceIndex{3}, 2}));
}

TEST(Picker, ARemovedSourceLeavesNothingBehind) {
  Picker picker = Draw("...", {"111", "111"});
  picker.Asked(kA, PieceIndex{0});
  picker.RemoveSource(kA);
  EXPECT_EQ(picker.Picture(), "...");
  EXPECT_EQ(picker.Holders(PieceIndex{0}), 1u);
  picker.AddSource(kA);
  EXPECT_EQ(Want(picker, kA), -1) << "its number is used again, its pieces are not";
}

// What is counted as it comes and goes, against looking at everything.
class PickerModel {
 public:
  static constexpr uint32_t kPieces = 150;
  static constexpr uint32_t kSources = 65;
  explicit PickerModel(uint32_t seed) : random_(seed), picker_(kPieces, seed) {
    for (uint32_t source = 0; source < kSources; ++source) picker_.AddSource(SourceId{source});
  }

  void Change() {
    const SourceId source{Draw(kSources)};
    const PieceIndex piece{Draw(kPieces)};
    auto& has = has_[uint32_t(source)];
    auto& asked = asked_[uint32_t(source)];
    switch (Draw(16)) {
      case 0:
        picker_.SetPresent(piece);
        present_.insert(piece);
        return;
      case 1:
        picker_.SourceLost(source, piece);
        has.erase(piece);
        return;
      case 2:
        picker_.RemoveSource(source);
        picker_.AddSource(source);
        has.clear();
        asked.clear();
        return;
      case 3:
      case 4:
        if (!asked.insert(piece).second) return;
        return picker_.Asked(source, piece);
      case 5:
      case 6:
        if (asked.erase(piece) > 0) picker_.Ended(source, piece);
        return;
      default:
        picker_.SourceHas(source, piece);
        has.insert(piece);
    }
  }

  void Check() {
    for (uint32_t source = 0; source < kSources; ++source) {
      const auto free = FreeOf(source);
      const auto picked = picker_.Pick(SourceId{source});
      ASSERT_EQ(picked.has_value(), !free.empty());
      if (source > 0) {
        ASSERT_EQ((picker_.Offering() >> (source - 1) & 1) != 0, !free.empty());
      }
      if (!picked) continue;
      ASSERT_TRUE(free.contains(*picked));
      for (const PieceIndex other : free) ASSERT_LE(Rank(*picked), Rank(other));
    }
  }

 private:
  uint32_t Draw(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  std::set<PieceIndex> FreeOf(uint32_t source) const {
    std::set<PieceIndex> free = has_[source];
    for (const PieceIndex piece : present_) free.erase(piece);
    for (const auto& asked : asked_) {
      for (const PieceIndex piece : asked) free.erase(piece);
    }
    return free;
  }
  // The search ends at the first piece with one holder; the origin's may have none.
  uint32_t Rank(PieceIndex piece) const {
    uint32_t holders = 0;
    for (uint32_t source = 1; source < kSources; ++source) holders += has_[source].contains(piece);
    EXPECT_EQ(picker_.Holders(piece), holders);
    return std::max(1U, holders);
  }

  std::mt19937 random_;
  Picker picker_;
  std::set<PieceIndex> present_;
  std::array<std::set<PieceIndex>, kSources> has_;
  std::array<std::set<PieceIndex>, kSources> asked_;
};

TEST(Picker, WhatIsCountedIsWhatLookingAtEverythingFinds) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    PickerModel model(seed);
    for (int change = 0; change < 2000; ++change) {
      model.Change();
      if (change % 50 == 0) model.Check();
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "seed " << seed << ", change " << change;
    }
  }
}

TEST(Picker, ScansMoreThanOneWord) {
  std::string have(200, '1');
  have[130] = '.';
  for (uint64_t seed = 1; seed < 40; ++seed) {
    Picker picker = Draw(have, {std::string(200, '1')}, seed);
    EXPECT_EQ(Want(picker, kA), 130) << "seed " << seed;
  }
}

TEST(Picker, KeptPieceIsAskedOfTheOriginUnderALeaseAndOfNobodyElse) {
  Picker picker = Draw("..", {"11"});
  picker.AddSource(kOriginSource);
  picker.SetKept(PieceIndex{0});
  EXPECT_TRUE(picker.IsPresent(PieceIndex{0}));
  EXPECT_EQ(picker.missing(), 1U);
  EXPECT_EQ(picker.unasked(), 1U);
  EXPECT_EQ(Want(picker, kA), 1);
  picker.SetPresent(PieceIndex{1});
  EXPECT_FALSE(picker.Offers(kA));
  EXPECT_EQ(Want(picker, kOriginSource), -1);

  picker.SourceHas(kOriginSource, PieceIndex{0});
  EXPECT_EQ(picker.unasked(), 1U);
  EXPECT_FALSE(picker.Offers(kA));
  EXPECT_EQ(Want(picker, kA), -1);
  EXPECT_EQ(Want(picker, kOriginSource), 0);
  picker.Asked(kOriginSource, PieceIndex{0});
  EXPECT_EQ(Want(picker, kOriginSource), -1);
  picker.Ended(kOriginSource, PieceIndex{0});
  EXPECT_EQ(Want(picker, kOriginSource), 0) << "it did not come";
  picker.SourceLost(kOriginSource, PieceIndex{0});
  EXPECT_EQ(picker.unasked(), 0U);
  picker.SourceHas(kOriginSource, PieceIndex{0});
  picker.SetPresent(PieceIndex{0});
  EXPECT_FALSE(picker.IsKept(PieceIndex{0}));
  EXPECT_EQ(picker.unasked(), 0U);
  EXPECT_EQ(Want(picker, kOriginSource), -1);
  EXPECT_EQ(picker.missing(), 0U);
}

}  // namespace
}  // namespace hearth::p2p
