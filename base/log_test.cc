#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

namespace hearth {
namespace {

// What is logged by `log`; the sink writes to stderr at once for warnings.
template <typename Work>
std::string Logged(Work log) {
  testing::internal::CaptureStderr();
  log();
  std::fflush(stderr);
  return testing::internal::GetCapturedStderr();
}

TEST(LogTest, FieldsBecomeEscapedJson) {
  const std::string line = Logged([] {
    LOG_WARNING("say \"hi\"\n", {{"path", "a\\b\x01\x7f\t"},
                                 {"bytes", uint64_t{18446744073709551615U}},
                                 {"delta", -3},
                                 {"good", true},
                                 {"error", NotFound("x {} y")}});
  });
  const std::string want =
      R"("level":"warning","message":"say \"hi\"\u000a","path":"a\\b\u0001\u007f\u0009",)"
      R"("bytes":18446744073709551615,"delta":-3,"good":true,"error":"not_found: x {} y"})"
      "\n";
  EXPECT_TRUE(line.ends_with(want)) << line;
  EXPECT_TRUE(line.starts_with(R"({"time":"2)")) << line;
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(LogTest, LevelFilters) {
  SetLogLevel(LogLevel::kError);
  EXPECT_EQ(Logged([] { LOG_WARNING("hidden"); }), "");
  EXPECT_NE(Logged([] { LOG_ERROR("shown"); }), "");
  SetLogLevel(LogLevel::kInfo);
}

TEST(LogTest, FieldsOfAHiddenEventAreNotEvaluated) {
  int evaluated = 0;
  const auto field = [&evaluated] { return ++evaluated; };
  EXPECT_EQ(Logged([&] { LOG_DEBUG("hidden", {{"n", field()}}); }), "");
  EXPECT_EQ(evaluated, 0);
  SetLogLevel(LogLevel::kDebug);
  EXPECT_NE(Logged([&] {
              LOG_DEBUG("shown", {{"n", field()}});
              LOG_WARNING("flush");
            }),
            "");
  EXPECT_EQ(evaluated, 1);
  SetLogLevel(LogLevel::kInfo);
}

TEST(LogTest, LevelNames) {
  EXPECT_EQ(ParseLogLevel("debug").value(), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("error").value(), LogLevel::kError);
  for (const char* name : {"", "Debug", "warn", "trace"}) {
    EXPECT_EQ(ParseLogLevel(name).status().code(), StatusCode::kInvalidArgument) << name;
  }
}

TEST(SecretTest, PrintsAsStars) {
  const Secret<std::string> secret("hunter2");
  std::ostringstream out;
  out << secret;
  EXPECT_EQ(out.str(), "***");
  EXPECT_EQ(secret.Reveal(), "hunter2");
}

}  // namespace
}  // namespace hearth
