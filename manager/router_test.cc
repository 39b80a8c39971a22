#include "manager/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv/kv.h"
#include "manager/json_body.h"

namespace hearth::manager {
namespace {

using testing::HasSubstr;

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() {
    router_.Add("GET", "/things/{name}/parts", Scope::kNodeRead,
                [](const ApiCall& call) -> Result<ApiAnswer> {
                  return ApiAnswer{200, call.parameters.at("name")};
                });
    router_.Add("POST", "/things", Scope::kNode,
                [](const ApiCall&) -> Result<ApiAnswer> { return FailedPrecondition("no"); });
    router_.Add("GET", "/open", Scope::kPublic, [](const ApiCall&) -> Result<ApiAnswer> {
      return ApiAnswer{200, "open"};
    });
  }
  net::ServerResponse Ask(const std::string& method, const std::string& path,
                          const std::string& token = "", const std::string& remote = "10.0.0.1") {
    net::ServerRequest request;
    request.remote = remote;
    request.method = method;
    request.path = path;
    if (!token.empty()) request.headers.Add("Authorization", "Bearer " + token);
    net::ServerResponse answer;
    router_.Answer(request, [&](net::ServerResponse given) { answer = std::move(given); });
    return answer;
  }
  std::string TokenWith(Scope scope) {
    return tokens_->Create({"t", {scope}, {}}).value().text.Reveal();
  }
  static std::string Text(const net::ServerResponse& answer) {
    return std::get<std::string>(answer.body);
  }

  FakeClock clock_;
  const std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  const std::unique_ptr<Tokens> tokens_ = Tokens::Open(*kv_, clock_).value();
  const std::unique_ptr<Audit> audit_ = Audit::Open(*kv_, clock_).value();
  Router router_{*tokens_, *audit_, clock_};
};

TEST_F(RouterTest, GivesAHandlerItsParametersDecoded) {
  const auto answer = Ask("GET", "/things/a%2Fb/parts", TokenWith(Scope::kNodeRead));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(Text(answer), "a/b");
}

TEST_F(RouterTest, WhoChangedSomethingIsInTheAuditAndWhoReadIsNot) {
  (void)Ask("GET", "/things/a/parts", TokenWith(Scope::kNodeRead));
  (void)Ask("POST", "/things", TokenWith(Scope::kNode), "10.0.0.7");
  const auto page = audit_->List(0, 10).value();
  ASSERT_EQ(page.total, 1u);
  EXPECT_EQ(page.entries[0].path, "/things");
  EXPECT_EQ(page.entries[0].from, "10.0.0.7");
  EXPECT_EQ(page.entries[0].token_name, "t");
  EXPECT_THAT(page.entries[0].outcome, HasSubstr("no"));
}

TEST_F(RouterTest, NoHandlerRunsWithoutItsScope) {
  EXPECT_EQ(Ask("GET", "/things/a/parts").status, 401);
  EXPECT_EQ(Ask("POST", "/things", TokenWith(Scope::kNodeRead)).status, 403);
  EXPECT_EQ(Ask("POST", "/things", TokenWith(Scope::kNode)).status, 409);
  EXPECT_EQ(Text(Ask("GET", "/open")), "open");
  EXPECT_THAT(Text(Ask("POST", "/things", TokenWith(Scope::kJob))), HasSubstr("scope node"));
}

TEST_F(RouterTest, SaysWhatIsNotThere) {
  const std::string admin = TokenWith(Scope::kAdmin);
  for (const char* path : {"/", "", "/things/a", "/things//parts", "/things/%zz/parts", "/open/"}) {
    EXPECT_EQ(Ask("GET", path, admin).status, 404) << path;
  }
  const auto wrong_method = Ask("DELETE", "/open");
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_EQ(wrong_method.headers.Get("Allow"), "GET");
}

TEST_F(RouterTest, GuessesAreSlowedDownAndTokensAreNot) {
  const std::string right = TokenWith(Scope::kNodeRead);
  for (uint32_t i = 0; i < Throttle::kMaxFailures; ++i) {
    EXPECT_EQ(Ask("GET", "/things/a/parts", "hpat_guess").status, 401);
  }
  const auto slowed = Ask("GET", "/things/a/parts", "hpat_guess");
  EXPECT_EQ(slowed.status, 429);
  EXPECT_EQ(slowed.headers.Get("Retry-After"), "60");
  EXPECT_EQ(Ask("GET", "/things/a/parts", "hpat_guess", "10.0.0.2").status, 401);
  EXPECT_EQ(Ask("GET", "/things/a/parts", right).status, 200);
  clock_.Advance(Throttle::kWindow);
  EXPECT_EQ(Ask("GET", "/things/a/parts", "hpat_guess").status, 401);
}

std::string ErrorOf(const std::string& text) {
  auto body = JsonBody::Parse(text);
  if (!body.ok()) return body.status().message();
  std::string name;
  std::optional<uint64_t> uses;
  body->Text("name", name);
  body->Integer("uses", uses);
  return body->Finish().message();
}

TEST(JsonBodyTest, NamesWhatIsWrong) {
  EXPECT_EQ(ErrorOf(""), "");
  EXPECT_EQ(ErrorOf(R"({"name": null, "uses": 3})"), "");
  EXPECT_THAT(ErrorOf("{\"name\":\n  x}"), HasSubstr("line 2, column 3"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("one JSON object"));
  EXPECT_THAT(ErrorOf(R"({"user": 1})"), HasSubstr("did you mean \"uses\""));
  EXPECT_THAT(ErrorOf(R"({"uses": -1})"), HasSubstr("uses: must be a whole number"));
  EXPECT_THAT(ErrorOf(R"({"uses": 1.5})"), HasSubstr("uses: must be a whole number"));
  EXPECT_THAT(ErrorOf(R"({"name": {"name": 1, "name": 2}})"),
              HasSubstr("the field \"name.name\" is there twice"));
  EXPECT_THAT(ErrorOf("{\"" + std::string(100'000, 'x') + "\": 1}"), HasSubstr("unknown field"));
  EXPECT_LT(ErrorOf("{\"" + std::string(100'000, 'x') + "\": 1}").size(), 200u);
  EXPECT_THAT(ErrorOf(std::string(100'000, '[')), HasSubstr("nested too deep"));
}

TEST(JsonBodyTest, NamesTheFieldThatCannotBeRead) {
  EXPECT_THAT(ErrorOf("{\"uses\": 1, \"name\": \"\xff\"}"),
              HasSubstr("column 22, in the field \"name\""));
  EXPECT_THAT(ErrorOf(R"({"a": {"b": [{"c": 1}, {"c": nul}]}})"),
              HasSubstr("in the field \"a.b.c\""));
  // Behind an object it is the object's own field again.
  EXPECT_THAT(ErrorOf(R"({"a": {"b": {"c": 1}, x}})"), HasSubstr("in the field \"a.b\""));
  EXPECT_THAT(ErrorOf(R"({"a": 1e400})"), HasSubstr("in the field \"a\""));
  EXPECT_THAT(ErrorOf("{\"a\": " + std::string(100'000, '[')),
              HasSubstr("nested too deep (at most 16), in the field \"a\""));
  EXPECT_LT(ErrorOf("{\"" + std::string(100'000, 'x') + "\": 1").size(), 200u);
  EXPECT_THAT(ErrorOf("{"), testing::Not(HasSubstr("in the field")));
}

}  // namespace
}  // namespace hearth::manager
