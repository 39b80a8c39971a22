#include "base/base64.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(Base64Test, ReadsBackWhatItWrites) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(*DecodeBase64(EncodeBase64(bytes)), bytes);
    bytes += static_cast<char>(i * 7);
  }
  // RFC 4648 §10.
  EXPECT_EQ(EncodeBase64("foob"), "Zm9vYg==");
  EXPECT_EQ(EncodeBase64("foobar"), "Zm9vYmFy");
}

TEST(Base64Test, LetsLineEndsAndMissingPaddingPass) {
  EXPECT_EQ(*DecodeBase64("Zm9v\r\nYg"), "foob");
  EXPECT_EQ(*DecodeBase64(""), "");
}

TEST(Base64Test, RefusesTheRest) {
  for (const char* bad : {"Z", "Zm9vY", "Zm9v!", "Zm=9", "====", "Zm9vYg===", "Zm-_"}) {
    EXPECT_FALSE(DecodeBase64(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace hearth
