#include "net/http_head.h"

#include <gtest/gtest.h>

namespace hearth::net {
namespace {

TEST(HttpHeadTest, ReadsTheDateThatItWrites) {
  EXPECT_EQ(ParseHttpDate("Tue, 15 Nov 1994 08:12:31 GMT"), 784887151);
  for (const int64_t seconds : {int64_t{0}, int64_t{784'887'151}, int64_t{253'402'300'799}}) {
    EXPECT_EQ(ParseHttpDate(HttpDate(seconds)), seconds);
  }
}

TEST(HttpHeadTest, WhatIsNoDateOfTheOneFormIsNone) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, "now"sv, "Tue, 15 Nov 1994 08:12:31"sv, "Tue, 15 Nov 1994 08:12:31 GMT+1"sv,
        "1994-11-15T08:12:31Z"sv, "Tue, 15 Foo 1994 08:12:31 GMT"sv,
        "Tue, 15 Nov 1994 08:12:31 GMT\0, or later"sv}) {
    EXPECT_EQ(ParseHttpDate(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace hearth::net
