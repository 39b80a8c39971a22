#include "net/http.h"

#include <gtest/gtest.h>

#include <map>

#include "net/proxy.h"

namespace hearth::net {
namespace {

TEST(HttpHeadersTest, NamesCompareWithoutCaseAndOrderIsKept) {
  HttpHeaders headers{{"Accept", "a"}, {"ACCEPT", "b"}, {"X", "1"}};
  EXPECT_EQ(headers.Get("accept"), "a");
  EXPECT_EQ(headers.GetAll("Accept"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_FALSE(headers.Has("Accep"));
  EXPECT_EQ(headers.Get("absent"), "");
  headers.Set("aCCept", "c");
  EXPECT_EQ(headers.GetAll("Accept"), (std::vector<std::string_view>{"c"}));
  headers.Remove("x");
  EXPECT_FALSE(headers.Has("X"));
  EXPECT_EQ(headers.fields().size(), 1U);
}

TEST(HttpHeadersTest, ContentLengthIsANumberOrNone) {
  EXPECT_EQ(ContentLength({{"content-length", "12"}}), 12u);
  EXPECT_EQ(ContentLength({{"Content-Length", "12, 12"}}), std::nullopt);
  EXPECT_EQ(ContentLength({}), std::nullopt);
}

TEST(HttpHeadersTest, ContentRangeSaysWhereItBeginsAndMaybeTheTotal) {
  const auto whole = ContentRange::Parse("bytes 5-9/10");
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->begin_bytes, 5u);
  EXPECT_EQ(whole->total_bytes, 10u);
  const auto open = ContentRange::Parse("bytes 5-9/*");
  ASSERT_TRUE(open);
  EXPECT_EQ(open->total_bytes, std::nullopt);
  for (const char* bad :
       {"", "bytes */10", "bytes 5/10", "bytes -9/10", "items 5-9/10", "bytes 5/9-10"}) {
    EXPECT_FALSE(ContentRange::Parse(bad)) << bad;
  }
}

TEST(HttpStatusTest, CodesMapBothWays) {
  const std::pair<int, StatusCode> cases[] = {
      {400, StatusCode::kInvalidArgument},   {401, StatusCode::kUnauthenticated},
      {403, StatusCode::kPermissionDenied},  {404, StatusCode::kNotFound},
      {408, StatusCode::kDeadlineExceeded},  {416, StatusCode::kOutOfRange},
      {429, StatusCode::kResourceExhausted}, {451, StatusCode::kInvalidArgument},
      {500, StatusCode::kUnavailable},       {502, StatusCode::kUnavailable},
      {504, StatusCode::kDeadlineExceeded},  {302, StatusCode::kUnknown},
  };
  for (const auto& [http, code] : cases) {
    EXPECT_EQ(HttpStatusError(http, "x").code(), code) << http;
  }
  for (int code = 0; code <= 16; ++code) {
    const int http = HttpStatusFor(static_cast<StatusCode>(code));
    EXPECT_TRUE(http == 200 ? code == 0 : http >= 400 && http < 600) << code;
  }
  EXPECT_EQ(HttpStatusFor(StatusCode::kNotFound), 404);
  EXPECT_EQ(HttpStatusFor(StatusCode::kDataLoss), 500);
}

TEST(PercentTest, Decodes) {
  const std::pair<std::string, std::string> good[] = {
      {"", ""},         {"abc", "abc"}, {"a%20b", "a b"},
      {"%2F%2f", "//"}, {"a+b", "a+b"}, {"%e4%BA", "\xe4\xba"},
  };
  for (const auto& [text, want] : good) EXPECT_EQ(PercentDecode(text).value(), want) << text;
  for (const char* bad : {"%", "%2", "a%2", "%zz", "%2g", "%%20", "% 20"}) {
    EXPECT_EQ(PercentDecode(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(PercentTest, EveryByteSurvivesARoundTrip) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const std::string encoded = PercentEncode(all);
  EXPECT_EQ(encoded.find_first_of(" /:&+?#\n"), std::string::npos);
  EXPECT_EQ(PercentDecode(encoded).value(), all);
  EXPECT_EQ(PercentEncode("a-Z_0.9~/"), "a-Z_0.9~%2F");
}

TEST(QueryValueTest, FindsTheFirstOfThatName) {
  const std::string query = "ns=docker.io&x=&flag&a%62=1%2B2&s=a+b&ns=second&bad=%zz&=v";
  EXPECT_EQ(QueryValue(query, "ns"), "docker.io");
  EXPECT_EQ(QueryValue(query, "x"), "");
  EXPECT_EQ(QueryValue(query, "flag"), "");
  EXPECT_EQ(QueryValue(query, "ab"), "1+2");
  EXPECT_EQ(QueryValue(query, "s"), "a b");
  EXPECT_EQ(QueryValue(query, "bad"), "");
  EXPECT_EQ(QueryValue(query, "n"), "");
  EXPECT_EQ(QueryValue("", "n"), "");
  EXPECT_EQ(QueryValue("&&=&", "n"), "");
}

struct ProxyCase {
  const char* no_proxy;
  const char* host;
  const char* port;
  bool proxied;
};

TEST(ProxyTest, NoProxyEntries) {
  const ProxyCase cases[] = {
      {"", "r.example.com", "443", true},
      {"*", "r.example.com", "443", false},
      {"example.com", "r.example.com", "443", false},
      {"example.com", "example.com", "443", false},
      {".example.com", "example.com", "443", true},
      {".example.com", "R.Example.COM", "443", false},
      {"*.example.com", "r.example.com", "443", false},
      {"example.com", "badexample.com", "443", true},
      {"x, example.com:443 ", "example.com", "443", false},
      {"example.com:80", "example.com", "443", true},
      {"10.0.0.0/8", "10.1.2.3", "80", false},
      {"10.0.0.0/8", "11.1.2.3", "80", true},
      {"10.0.0.0/33", "10.1.2.3", "80", true},
      {"10.1.2.3", "10.1.2.3", "80", false},
      {"10.1.2.3:81", "10.1.2.3", "80", true},
      {"fd00::/8", "[fd00::1]", "80", false},
      {"[fd00::1]:80", "[fd00::1]", "80", false},
      {"fd00::1", "[fd00::1]", "80", false},
      {",,", "r.example.com", "80", true},
      {"", "localhost", "80", false},
      {"", "127.8.0.1", "80", false},
      {"", "[::1]", "80", false},
      {"", "::1", "80", false},
  };
  for (const auto& [no_proxy, host, port, proxied] : cases) {
    const Environment environment = [&exempt = no_proxy](const std::string& name) -> std::string {
      if (name == "HTTPS_PROXY") return "http://p:3128";
      return name == "no_proxy" ? exempt : "";
    };
    EXPECT_EQ(ProxyFor("https", host, port, environment), proxied ? "http://p:3128" : "")
        << no_proxy << " " << host << ":" << port;
    EXPECT_EQ(ProxyFor("http", host, port, environment), "");
  }
}

}  // namespace
}  // namespace hearth::net
