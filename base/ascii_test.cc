#include "base/ascii.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(Ascii, LowersLettersOnly) {
  EXPECT_EQ(AsciiLower("AZaz09-_\xc3\x84"), "azaz09-_\xc3\x84");
  EXPECT_EQ(AsciiLower(""), "");
}

TEST(Ascii, TrimsBlanksAndTabsAtTheEndsOnly) {
  EXPECT_EQ(TrimBlanks(" \ta b\t "), "a b");
  EXPECT_EQ(TrimBlanks(" \t"), "");
  EXPECT_EQ(TrimBlanks("a\n"), "a\n");
}

}  // namespace
}  // namespace hearth
