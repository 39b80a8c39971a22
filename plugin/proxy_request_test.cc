#include "plugin/proxy_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::plugin {
namespace {

using Kind = ProxyTarget::Kind;

TEST(ProxyTarget, NamesTheFile) {
  const struct {
    const char* method;
    const char* target;
    Kind kind;
    const char* url;
    const char* host;
    uint16_t port;
  } kCases[] = {
      {"GET", "http://Host/f?a=1", Kind::kUrl, "http://host/f?a=1", "host", 80},
      {"GET", "HTTPS://h:8443", Kind::kUrl, "https://h:8443/", "h", 8443},
      {"GET", "http://h?x#y", Kind::kUrl, "http://h/?x", "h", 80},
      {"GET", "/file/https/h/p/../%61?ns=x", Kind::kFile, "https://h/p/../%61?ns=x", "h", 443},
      {"GET", "/file/http/[::1]:81/", Kind::kFile, "http://[::1]:81/", "::1", 81},
      {"GET", "/v2/", Kind::kNone, "", "", 0},
      {"CONNECT", "[fe80::1]:443", Kind::kConnect, "", "fe80::1", 443},
      {"CONNECT", "h:1", Kind::kConnect, "", "h", 1},
  };
  for (const auto& test : kCases) {
    const auto target = ProxyTarget::Parse(test.method, test.target);
    ASSERT_TRUE(target.ok()) << test.target << target.status();
    EXPECT_EQ(target->kind, test.kind) << test.target;
    EXPECT_EQ(target->url, test.url);
    EXPECT_EQ(target->host, test.host);
    EXPECT_EQ(target->port, test.port);
  }
}

TEST(ProxyTarget, RefusesWhatNamesNoHost) {
  for (const char* target :
       {"http://u:p@h/", "http:///f", "ftp://h/f", "http://h:0/", "http://[::1", "http://h:99999/",
        "/file/https", "/file/ftp/h/f", "http://h\\x/"}) {
    EXPECT_EQ(ProxyTarget::Parse("GET", target).status().code(), StatusCode::kInvalidArgument)
        << target;
  }
  for (const char* target : {"h", "h:", ":443", "h:443/x"}) {
    EXPECT_FALSE(ProxyTarget::Parse("CONNECT", target).ok()) << target;
  }
}

TEST(DragonflyHeaders, AreUnderstoodOrRefusedByName) {
  const auto good = DragonflyHeaders::Parse({{"x-dragonfly-tag", "t"},
                                             {"X-Dragonfly-Piece-Length", "4MiB"},
                                             {"X-Dragonfly-Filtered-Query-Params", "a, b"},
                                             {"X-Dragonfly-Use-P2P", "TRUE"},
                                             {"X-Dragonfly-Priority", "6"},
                                             {"X-Other", "1"}});
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->labels.tag, "t");
  EXPECT_EQ(good->labels.application, std::nullopt);
  EXPECT_EQ(good->labels.piece_length, 4u << 20);
  EXPECT_EQ(good->labels.filter, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(good->use_store);
  for (const auto& [name, value, code] :
       {std::tuple{"Piece-Length", "1MiB", StatusCode::kInvalidArgument},
        {"Priority", "7", StatusCode::kInvalidArgument},
        {"Use-P2P", "maybe", StatusCode::kInvalidArgument},
        {"Surprise", "1", StatusCode::kInvalidArgument},
        {"Output-Path", "/x", StatusCode::kUnimplemented},
        {"Force-Hard-Link", "true", StatusCode::kUnimplemented},
        {"Content-For-Calculating-Task-ID", "x", StatusCode::kUnimplemented}}) {
    const auto bad = DragonflyHeaders::Parse({{std::string("X-Dragonfly-") + name, value}});
    EXPECT_EQ(bad.status().code(), code) << name;
    EXPECT_THAT(bad.status().message(), testing::HasSubstr(name));
  }
}

TEST(ForwardedHeaders, KeepOnlyWhatGoesEndToEnd) {
  const auto out = ForwardedHeaders({{"Connection", "close, X-Mine"},
                                     {"X-Mine", "1"},
                                     {"TE", "gzip"},
                                     {"Proxy-Authorization", "secret"},
                                     {"X-Dragonfly-Tag", "t"},
                                     {"Host", "h"},
                                     {"Authorization", "kept"},
                                     {"Via", "1.0 other"}},
                                    "me");
  EXPECT_EQ(out.fields().size(), 2u);
  EXPECT_EQ(out.Get("Authorization"), "kept");
  EXPECT_EQ(out.Get("Via"), "1.0 other, 1.1 me");
  EXPECT_TRUE(HasPassed(out, "me"));
  EXPECT_FALSE(HasPassed(out, "m"));
}

}  // namespace
}  // namespace hearth::plugin
