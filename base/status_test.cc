#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <sstream>

namespace hearth {
namespace {

TEST(StatusTest, SaysCodeAndMessage) {
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().ToString(), "ok");
  EXPECT_EQ(NotFound("blob x").ToString(), "not_found: blob x");
  std::ostringstream out;
  out << DataLoss("y");
  EXPECT_EQ(out.str(), "data_loss: y");
  EXPECT_NE(NotFound("a"), NotFound("b"));
  EXPECT_NE(NotFound("a"), Aborted("a"));
}

TEST(StatusTest, AnnotateKeepsTheCodeAndLeavesOkAlone) {
  EXPECT_EQ(NotFound("x").Annotate("open").Annotate("start"), NotFound("start: open: x"));
  EXPECT_EQ(OkStatus().Annotate("open"), OkStatus());
}

TEST(StatusTest, CodesAreGrpcsAndEachHasItsName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= 16; ++code) {
    names.insert(StatusCodeName(static_cast<StatusCode>(code)));
  }
  EXPECT_EQ(names.size(), 17U);
  EXPECT_EQ(static_cast<int>(Unavailable("").code()), 14);
  EXPECT_EQ(static_cast<int>(Unauthenticated("").code()), 16);
}

TEST(StatusTest, ErrnoTellsWhatAndWhy) {
  const std::pair<int, StatusCode> cases[] = {
      {ENOENT, StatusCode::kNotFound},          {EEXIST, StatusCode::kAlreadyExists},
      {ENOSPC, StatusCode::kResourceExhausted}, {EMFILE, StatusCode::kResourceExhausted},
      {EACCES, StatusCode::kPermissionDenied},  {EIO, StatusCode::kDataLoss},
      {EINVAL, StatusCode::kInvalidArgument},   {ECONNREFUSED, StatusCode::kUnavailable},
      {EBADF, StatusCode::kInternal},
  };
  for (const auto& [error_number, code] : cases) {
    EXPECT_EQ(ErrnoStatus(error_number, "x").code(), code) << error_number;
  }
  EXPECT_EQ(ErrnoStatus(ENOENT, "open f").message(), "open f: No such file or directory");
}

Result<int> Half(int value) {
  if (value % 2 != 0) return InvalidArgument(std::to_string(value) + " is odd");
  return value / 2;
}

Result<int> Quarter(int value) { return TRY(Half(TRY(Half(value)))); }

Status CheckQuarter(int value) {
  TRY_STATUS(Quarter(value));
  return OkStatus();
}

TEST(ResultTest, TryReturnsTheFirstErrorAndNests) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(Quarter(6).status(), InvalidArgument("3 is odd"));
  EXPECT_EQ(Quarter(5).status(), InvalidArgument("5 is odd"));
  EXPECT_TRUE(CheckQuarter(8).ok());
  EXPECT_EQ(CheckQuarter(6), InvalidArgument("3 is odd"));
  EXPECT_EQ(Quarter(6).Annotate("quarter").status(), InvalidArgument("quarter: 3 is odd"));
  EXPECT_EQ(Quarter(8).Annotate("quarter").value(), 2);
}

TEST(ResultTest, HoldsWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
  const auto use = [&]() -> Result<int> {
    const auto value = TRY(make());
    return *value;
  };
  EXPECT_EQ(use().value(), 7);
}

TEST(StatusDeathTest, CheckNamesItsCondition) {
  EXPECT_DEATH(CHECK(1 + 1 == 3), "CHECK\\(1 \\+ 1 == 3\\) failed at .*status_test.cc");
}

}  // namespace
}  // namespace hearth
