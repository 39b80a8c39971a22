#include "oci/task_url.h"

#include <gtest/gtest.h>

#include "oci/go_url.h"
#include "oci/whatwg_url.h"

namespace hearth::oci {
namespace {

struct Case {
  std::string url;
  std::string want;  // "" = refused
};

// What go1.26's net/url makes of each.
TEST(TaskUrl, GoWritesAUrlAgain) {
  for (const Case& c : std::vector<Case>{
           {"https://h?b=2&a=1&x=3", "https://h?a=1&b=2"},
           {"https://h/?x=1", "https://h/"},
           {"HTTPS://Host:443/a/../b?x=1", "https://Host:443/a/../b"},
           {"https://h?", "https://h?"},
           {"https://h/p?q=a%20b~*", "https://h/p?q=a+b~%2A"},
           {"https://h/p?a=1;b=2&c=3", "https://h/p?c=3"},
           {"https://h/p?a=%zz&c", "https://h/p?c="},
           {"https://h/a b?x=1", "https://h/a%20b"},
           {"https://h/a%2fb#frag ment", "https://h/a%2fb#frag%20ment"},
           {"https://u:p%40@h/", "https://u:p%40@h/"},
           {"https://[::1]:80/x", "https://[::1]:80/x"},
           {"mailto:a@b?x=1", "mailto:a@b"},
           {"http:/path?x=1", "http:/path"},
           {"file:///etc/x", "file:///etc/x"},
           {"host/path?x=1&y=2", "host/path?y=2"},
           {":bad", ""},
           {"http://h:port/", ""},
           {"http://h/%zz", ""},
           {"http://h/a\nb", ""},
           {"1http:x", ""},
       }) {
    const auto got = FilterUrlLikeGo(c.url, {"x"});
    EXPECT_EQ(got.ok() ? *got : "", c.want) << c.url;
  }
  EXPECT_EQ(*FilterUrlLikeGo("https://h?b=2&a=1", {}), "https://h?b=2&a=1");
}

TEST(TaskUrl, OldClientsWriteAUrlAsTheStandardSays) {
  for (const Case& c : std::vector<Case>{
           {"https://h?b=2&a=1&x=3", "https://h/?b=2&a=1"},
           {"https://h/?x=1", "https://h"},
           {"https://h", "https://h"},
           {"HTTPS://HOST:443/a/./b/../c?x=1", "https://host/a/c"},
           {"http://h:8080/..", "http://h:8080"},
           {"https://h/p?q=a%20b~*", "https://h/p?q=a+b%7E*"},
           {"https://h/a b\"<>`{}^|", "https://h/a%20b%22%3C%3E%60%7B%7D^|"},
           {"https://h\\a\\b", "https://h/a/b"},
           {" https://h/a\tb ", "https://h/ab"},
           {"https://0x7f.1/x", "https://127.0.0.1/x"},
           {"https://[0:0:0:0:0:0:0:1]:443/x", "https://[::1]/x"},
           {"https://h/x?", "https://h/x"},
           {"https://h/x#y", "https://h/x#y"},
           {"s3://Bucket/a/../key", "s3://Bucket/key"},
           {"https://h/%2e%2E/a", "https://h/a"},
           {"https://", ""},
           {"h/p", ""},
           {"https://h:99999/", ""},
           {"https://a b/", ""},
           {"https://256.1.1.1/", ""},
       }) {
    const auto got = FilterUrlLikeClient151(c.url, {"x"});
    EXPECT_EQ(got.ok() ? *got : "", c.want) << c.url;
  }
}

TEST(TaskUrl, Client1510MixesBoth) {
  for (const Case& c : std::vector<Case>{
           {"https://h?b=2&a=1&x=3", "https://h?a=1&b=2"},
           {"https://h", "https://h"},
           {"https://h/?x=1", "https://h/"},
           {"HTTPS://HOST:443/a/./b?x=1", "https://host/a/b"},
           {"https://h/p?q=a%20b~*", "https://h/p?q=a+b~%2A"},
           {"https://h/p?a=1;b=2&c=3", "https://h/p?c=3"},
       }) {
    const auto got = FilterUrlLikeClient1510(c.url, {"x"});
    EXPECT_EQ(got.ok() ? *got : "", c.want) << c.url;
  }
  EXPECT_EQ(*FilterUrlLikeClient1510("HTTPS://H?b=2&a=1", {}), "HTTPS://H?b=2&a=1");
}

TEST(TaskUrl, FilterLists) {
  EXPECT_EQ(ParseFilteredQueryParams("Expires&Signature&ns"),
            (std::vector<std::string>{"Expires", "Signature", "ns"}));
  EXPECT_EQ(ParseFilteredQueryParams("a,b", ','), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(ParseFilteredQueryParams("").empty());
  EXPECT_EQ(*FilterUrlLikeGo("https://h/f?Expires=1&OSSAccessKeyId=2&q-ak=3&ns=4&expires=5",
                             DefaultFilteredQueryParams()),
            "https://h/f?expires=5");
}

}  // namespace
}  // namespace hearth::oci
