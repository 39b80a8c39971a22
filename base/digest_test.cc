#include "base/digest.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace hearth {
namespace {

constexpr char kEmptyHex[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr char kAbcHex[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(DigestTest, KnownSums) {  // FIPS 180-2
  EXPECT_EQ(Digest::Of("").hex(), kEmptyHex);
  EXPECT_EQ(Digest::Of("abc").ToString(), std::string("sha256:") + kAbcHex);
}

TEST(DigestTest, ParsesItsOwnText) {
  const Digest digest = Digest::Of("abc");
  EXPECT_EQ(Digest::Parse(digest.ToString()).value(), digest);
  EXPECT_EQ(Digest::FromHex(digest.hex()).value(), digest);
  EXPECT_TRUE(Digest().IsZero());
  EXPECT_FALSE(digest.IsZero());
}

TEST(DigestTest, RefusesEverythingElse) {
  const std::string hex = kAbcHex;
  std::string upper = hex;
  upper[0] = 'B';
  for (const std::string& text :
       {std::string(), std::string("sha256:"), hex, "sha256:" + upper, "SHA256:" + hex,
        "sha256:" + hex + "0", "sha256:" + hex.substr(1), "sha256: " + hex.substr(1),
        "sha256:" + hex.substr(0, 63) + "g", "sha256:../../" + hex.substr(6), "md5:" + hex}) {
    EXPECT_EQ(Digest::Parse(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(Digest::Parse("sha512:" + hex + hex).status().code(), StatusCode::kUnimplemented);
}

TEST(DigestTest, OrdersAndHashesAsAValue) {
  const Digest a = Digest::FromHex(std::string(64, '0')).value();
  const Digest b = Digest::FromHex(std::string(63, '0') + "1").value();
  EXPECT_LT(a, b);
  EXPECT_EQ(a, Digest());
  const std::unordered_set<Digest> set = {a, b, Digest::Of("abc"), Digest()};
  EXPECT_EQ(set.size(), 3U);
}

TEST(Sha256Test, PartsGiveTheSumOfTheWhole) {
  const std::string data(100'000, 'x');
  for (const size_t step : {1UL, 63UL, 64UL, 65UL, 99'999UL}) {
    Sha256 hash;
    for (size_t at = 0; at < data.size(); at += step) {
      hash.Update(std::string_view(data).substr(at, step));
    }
    EXPECT_EQ(hash.Current(), Digest::Of(data)) << step;
  }
}

TEST(Sha256Test, CurrentDoesNotEndItAndCopiesAreIndependent) {
  Sha256 hash;
  hash.Update("a");
  EXPECT_EQ(hash.Current(), Digest::Of("a"));
  Sha256 copy(hash);
  copy.Update("x");
  hash.Update("bc");
  EXPECT_EQ(hash.Current().hex(), kAbcHex);
  EXPECT_EQ(copy.Current(), Digest::Of("ax"));
  copy = hash;
  EXPECT_EQ(copy.Current().hex(), kAbcHex);
  hash.Reset();
  EXPECT_EQ(hash.Current().hex(), kEmptyHex);
  const Sha256 moved(std::move(copy));
  EXPECT_EQ(moved.Current().hex(), kAbcHex);
}

}  // namespace
}  // namespace hearth
