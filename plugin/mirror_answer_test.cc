#include "plugin/mirror_answer.h"

#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

TEST(MirrorAnswer, ErrorsSendTheClientToTheOrigin) {
  EXPECT_EQ(ErrorAnswer(NotFound("x")).status, 404);
  EXPECT_EQ(ErrorAnswer(InvalidArgument("x")).status, 404);
  for (const Status& status :
       {Unavailable("x"), ResourceExhausted("x"), DataLoss("x"), DeadlineExceeded("x"),
        Cancelled("x"), PermissionDenied("x"), Internal("x")}) {
    EXPECT_EQ(ErrorAnswer(status).status, 503) << status;
  }
  const auto answer = ErrorAnswer(Unavailable("he said \"no\" \xff"));
  EXPECT_NE(std::get<std::string>(answer.body).find(R"(he said \"no\")"), std::string::npos);
}

TEST(MirrorAnswer, NeverTooManyRequestsNorTimeout) {
  for (const auto& [from, to] : {std::pair{408, 503},
                                 {429, 503},
                                 {500, 503},
                                 {502, 503},
                                 {401, 401},
                                 {403, 403},
                                 {404, 404},
                                 {405, 405},
                                 {200, 200},
                                 {304, 304}}) {
    EXPECT_EQ(
        ForwardedAnswer({.status = from, .headers = {}, .body = {}, .effective_url = {}}, false)
            .status,
        to);
  }
}

TEST(MirrorAnswer, PassesChallengeAndDigestButNoEncoding) {
  const net::HttpResponse origin{
      .status = 401,
      .headers = {{"WWW-Authenticate", "Bearer realm=\"https://auth/token\""},
                  {"www-authenticate", "Basic realm=\"x\""},
                  {"Docker-Content-Digest", "sha256:1"},
                  {"Content-Encoding", "gzip"},
                  {"Set-Cookie", "a=b"},
                  {"Content-Length", "17"},
                  {"Content-Type", "application/json"}},
      .body = "{}",
      .effective_url = {}};
  const auto answer = ForwardedAnswer(origin, true);
  EXPECT_EQ(answer.headers.GetAll("WWW-Authenticate").size(), 2u);
  EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), "sha256:1");
  EXPECT_EQ(answer.headers.Get("Content-Type"), "application/json");
  EXPECT_FALSE(answer.headers.Has("Content-Encoding"));
  EXPECT_FALSE(answer.headers.Has("Set-Cookie"));
  EXPECT_EQ(answer.content_length, 17u);
  EXPECT_EQ(ForwardedAnswer(origin, false).content_length, std::nullopt);
}

}  // namespace
}  // namespace hearth::plugin
