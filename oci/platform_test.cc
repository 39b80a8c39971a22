#include "oci/platform.h"

#include <gtest/gtest.h>

namespace hearth::oci {
namespace {

std::string Normal(std::string_view text) {
  const auto platform = Platform::Parse(text);
  return platform.ok() ? platform->ToString() : "";
}

TEST(Platform, Parse) {
  const std::string host = Platform::Host().architecture;
  for (const auto& [text, want] : std::vector<std::pair<std::string, std::string>>{
           {"linux/amd64", "linux/amd64"},
           {"linux/x86_64", "linux/amd64"},
           {"Linux/AMD64/v1", "linux/amd64"},
           {"linux/amd64/v3", "linux/amd64/v3"},
           {"linux/arm64", "linux/arm64"},
           {"linux/aarch64/v8", "linux/arm64"},
           {"linux/arm64/8", "linux/arm64"},
           {"linux/arm", "linux/arm/v7"},
           {"linux/arm/6", "linux/arm/v6"},
           {"linux/armhf", "linux/arm/v7"},
           {"linux/armel", "linux/arm/v6"},
           {"linux/i386", "linux/386"},
           {"macos/arm64", "darwin/arm64"},
           {"arm64", "linux/arm64"},
           {"linux/riscv64", "linux/riscv64"},
           {"", ""},
           {"linux/", ""},
           {"/amd64", ""},
           {"a/b/c/d", ""},
           {"lin ux/amd64", ""},
           {"nonsense", ""},
           {"*", ""},
       }) {
    EXPECT_EQ(Normal(text), want) << text;
  }
  EXPECT_EQ(Platform::Parse("linux")->architecture, host);
  EXPECT_EQ(Platform::Parse("nonsense").status().code(), StatusCode::kInvalidArgument);
}

TEST(Platform, Host) {
  const Platform host = Platform::Host();
  EXPECT_EQ(host.os, "linux");
#if defined(__x86_64__)
  EXPECT_EQ(host.ToString(), "linux/amd64");
#elif defined(__aarch64__)
  EXPECT_EQ(host.ToString(), "linux/arm64");
#endif
}

TEST(Platform, RanksFromBestToWorst) {
  // Each line: what is wanted, then what it takes, best first; the rest it does not take.
  struct Case {
    std::string wanted;
    std::vector<std::string> takes;
    std::vector<std::string> refuses;
  };
  for (const Case& c : std::vector<Case>{
           {"linux/amd64",
            {"linux/amd64", "linux/386"},
            {"linux/amd64/v2", "linux/arm64", "windows/amd64"}},
           {"linux/amd64/v3",
            {"linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"},
            {"linux/amd64/v4"}},
           {"linux/arm/v7",
            {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5"},
            {"linux/arm/v8", "linux/arm64"}},
           {"linux/arm/v6", {"linux/arm/v6", "linux/arm/v5"}, {"linux/arm/v7"}},
           {"linux/arm64",
            {"linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6"},
            {"linux/amd64", "linux/arm64/v9"}},
           {"linux/arm64/v8.2",
            {"linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64"},
            {"linux/arm64/v8.3"}},
           {"linux/s390x", {"linux/s390x"}, {"linux/386"}},
       }) {
    const Platform wanted = *Platform::Parse(c.wanted);
    int last = -1;
    for (const std::string& offer : c.takes) {
      const auto rank = PlatformRank(wanted, *Platform::Parse(offer));
      ASSERT_TRUE(rank.has_value()) << c.wanted << " should take " << offer;
      EXPECT_GT(*rank, last) << c.wanted << ": " << offer;
      last = *rank;
    }
    for (const std::string& offer : c.refuses) {
      EXPECT_FALSE(PlatformRank(wanted, *Platform::Parse(offer)).has_value())
          << c.wanted << " must not take " << offer;
    }
  }
}

}  // namespace
}  // namespace hearth::oci
