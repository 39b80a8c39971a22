#include "oci/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "oci/registry_fixture.h"

namespace hearth::oci {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Challenge, Reads) {
  struct Case {
    std::vector<std::string_view> headers;
    std::vector<Challenge> want;
  };
  for (const Case& c : std::vector<Case>{
           {{"Basic realm=\"x\""}, {{"basic", {{"realm", "x"}}}}},
           {{"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\""},
            {{"bearer",
              {{"realm", "https://a/t"},
               {"service", "s"},
               {"scope", "repository:a/b:pull,push"}}}}},
           {{"BEARER Realm = \"a\" , Service = b"},
            {{"bearer", {{"realm", "a"}, {"service", "b"}}}}},
           {{"Basic realm=\"x\", Bearer realm=\"y\""},
            {{"basic", {{"realm", "x"}}}, {"bearer", {{"realm", "y"}}}}},
           {{"Negotiate", "Bearer realm=\"y\""}, {{"negotiate", {}}, {"bearer", {{"realm", "y"}}}}},
           {{"Bearer realm=\"a\\\"b\""}, {{"bearer", {{"realm", "a\"b"}}}}},
           {{"Bearer realm=https://a/t,service=s"},
            {{"bearer", {{"realm", "https://a/t"}, {"service", "s"}}}}},
           {{"Bearer realm=\"unfinished"}, {{"bearer", {}}}},
           {{"", ",,,", "=x", "realm=\"lost\""}, {}},
       }) {
    EXPECT_EQ(ParseChallenges(c.headers), c.want) << c.headers[0];
  }
}

TEST(Challenge, IsBounded) {
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += "Basic realm=\"x\", ";
  EXPECT_LE(ParseChallenges({many}).size(), 16u);
}

TEST(DockerConfig, FindsCredentials) {
  const auto config = DockerConfig::Parse(R"({"auths":{
      "https://index.docker.io/v1/":{"auth":"am9lOnMzY3JldDp4"},
      "registry.example.com:5000":{"username":"u","password":"p"},
      "https://ghcr.io/v2/":{"identitytoken":"t","auth":"PHRva2VuPjo="},
      "empty.io":{}},
      "credHelpers":{"gcr.io":"gcloud"},"HttpHeaders":{"x":"y"}})");
  ASSERT_TRUE(config.ok()) << config.status();
  for (const char* hub : {"docker.io", "index.docker.io", "registry-1.docker.io"}) {
    EXPECT_EQ(config->For(hub)->username, "joe") << hub;
    EXPECT_EQ(config->For(hub)->password.Reveal(), "s3cret:x");
  }
  EXPECT_EQ(config->For("registry.example.com:5000")->password.Reveal(), "p");
  EXPECT_EQ(config->For("ghcr.io")->identity_token.Reveal(), "t");
  EXPECT_TRUE(config->For("registry.example.com")->empty());
  EXPECT_TRUE(config->For("empty.io")->empty());
  const Status helper = config->For("gcr.io").status();
  EXPECT_EQ(helper.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(helper.message(), HasSubstr("docker-credential-gcloud"));
}

// The keys of a Kubernetes secret, matched as kubelet matches them.
TEST(DockerConfig, KeysMayHavePatternsAndPaths) {
  const auto config = DockerConfig::Parse(R"({"auths":{
      "https://r.io":{"username":"plain","password":"p"},
      "r.io/team":{"username":"team","password":"p"},
      "http://r.io/v2/team/app":{"username":"app","password":"p"},
      "*.example.com":{"username":"star","password":"p"},
      "reg-??.example.com:5000":{"username":"ports","password":"p"},
      "docker.io/me":{"username":"me","password":"p"}}})");
  ASSERT_TRUE(config.ok()) << config.status();
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"r.io", "other/app", "plain"},
      {"r.io", "team/x", "team"},
      {"r.io", "team/app", "app"},
      {"a.example.com", "x", "star"},
      {"a.b.example.com", "x", ""},
      {"example.com", "x", ""},
      {"a.example.com:5000", "x", ""},
      {"reg-01.example.com:5000", "x", "ports"},
      {"reg-1.example.com:5000", "x", ""},
      {"index.docker.io", "me/app", "me"},
      {"docker.io", "library/nginx", ""},
      {"r.io.evil.com", "x", ""},
      {"r.io:443", "x", ""},
      {"xr.io", "x", ""},
  };
  for (const auto& [domain, path, user] : cases) {
    EXPECT_EQ(config->For(domain, path)->username, user) << domain << " " << path;
  }
}

TEST(DockerConfig, PatternsOfManyStarsTakeNoTime) {
  std::string stars;
  for (int i = 0; i < 200; ++i) stars += "*a";
  const auto config = DockerConfig::Parse(R"({"auths":{")" + stars + R"(":{"username":"u"}}})");
  EXPECT_TRUE(config->For(std::string(10'000, 'a') + "b", "x")->empty());
}

TEST(DockerConfig, DefaultHelperMattersOnlyWhereALoginLeftAnEntry) {
  const auto config = DockerConfig::Parse(R"({"auths":{"a.io":{}},"credsStore":"desktop"})");
  EXPECT_EQ(config->For("a.io").status().code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(config->For("b.io").ok());
}

TEST(DockerConfig, ErrorsNameTheEntryNotTheSecret) {
  for (const auto& [text, why] : std::vector<std::pair<std::string, std::string>>{
           {"", "no JSON object"},
           {R"({"auths":[]})", "auths is no object"},
           {R"({"auths":{"h":7}})", "auths[\"h\"]"},
           {R"({"auths":{"h":{"auth":"s3cret!"}}})", "auths[\"h\"].auth is not the base64"},
           {R"({"auths":{"h":{"auth":"czNjcmV0"}}})", "USER:PASSWORD"},
           {R"({"auths":{"h":{"password":1}}})", ".password is no text"},
           {R"({"credHelpers":[]})", "credHelpers is no object"},
       }) {
    const Status status = DockerConfig::Parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr(why)) << text;
    EXPECT_THAT(status.message(), Not(HasSubstr("s3cret"))) << text;
  }
}

class AuthorizerTest : public RegistryFixture {
 protected:
  AuthTarget Target(const ScriptedServer& server, std::string scope = "s") {
    return {server.host(), std::move(scope), {}, "", true};
  }
  std::vector<Challenge> Bearer(const ScriptedServer& server) {
    return {{"bearer", {{"realm", server.url() + "/token"}}}};
  }
  FakeClock clock_;
};

TEST_F(AuthorizerTest, TokensAreKeptPerScopeAndCredentialUntilShortlyBeforeTheyExpire) {
  ScriptedServer server([](const Request&, int count) {
    Reply reply;
    reply.body = "{\"token\":\"t" + std::to_string(count) + "\",\"expires_in\":100}";
    return reply;
  });
  Authorizer authorizer(*client_, clock_, {});
  const AuthTarget target = Target(server);
  EXPECT_EQ(authorizer.Answer(target, Bearer(server), {})->Reveal(), "Bearer t1");
  EXPECT_EQ(authorizer.Cached(target).Reveal(), "Bearer t1");
  EXPECT_EQ(authorizer.Cached(Target(server, "other")).Reveal(), "");
  AuthTarget joe = target;
  joe.credential.username = "joe";
  EXPECT_EQ(authorizer.Cached(joe).Reveal(), "");
  clock_.Advance(std::chrono::seconds(89));
  EXPECT_EQ(authorizer.Cached(target).Reveal(), "Bearer t1");
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_EQ(authorizer.Cached(target).Reveal(), "");
}

TEST_F(AuthorizerTest, KeepsOnlySoManyTokens) {
  ScriptedServer server([](const Request&, int count) {
    Reply reply;
    reply.body = "{\"token\":\"t\",\"expires_in\":" + std::to_string(count == 1 ? 100 : 200) + "}";
    return reply;
  });
  Authorizer::Options options;
  options.max_tokens = 2;
  Authorizer authorizer(*client_, clock_, options);
  for (const char* scope : {"a", "b", "c"}) {
    ASSERT_TRUE(authorizer.Answer(Target(server, scope), Bearer(server), {}).ok());
  }
  EXPECT_EQ(authorizer.Cached(Target(server, "a")).Reveal(), "");
  EXPECT_EQ(authorizer.Cached(Target(server, "c")).Reveal(), "Bearer t");
}

TEST_F(AuthorizerTest, AnswersOfTheTokenServiceThatAreNoToken) {
  for (const char* body :
       {"", "[]", "{}", R"({"token":7})", R"({"token":""})", "{\"token\":\"a\\r\\nX: y\"}"}) {
    ScriptedServer server([body](const Request&, int) {
      Reply reply;
      reply.body = body;
      return reply;
    });
    Authorizer authorizer(*client_, clock_, {});
    const Status status = authorizer.Answer(Target(server), Bearer(server), {}).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << body;
    EXPECT_THAT(status.message(), HasSubstr("token service"));
  }
}

TEST_F(AuthorizerTest, SchemesThatNobodySpeaks) {
  Authorizer authorizer(*client_, clock_, {});
  const Status status =
      authorizer.Answer({"h", "s", {}, "", false}, {{"negotiate", {}}}, {}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnauthenticated);
  EXPECT_THAT(status.message(), HasSubstr("negotiate"));
}

}  // namespace
}  // namespace hearth::oci
