// Redirects, addresses and proxies: where HttpClient lets a request go.
#include <gtest/gtest.h>
#include <sys/un.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "net/http_client.h"
#include "net/raw_server_test.h"

namespace hearth::net {
namespace {

constexpr uint64_t kLimit = 1024 * 1024;
constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

std::string RedirectTo(const std::string& location, const std::string& status = "302 Found") {
  return "HTTP/1.1 " + status + "\r\nLocation: " + location +
         "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmoved";
}

bool HasLine(const std::string& request, const std::string& line) {
  return request.find("\r\n" + line + "\r\n") != std::string::npos;
}

// Keeps the heads of the requests that it got.
struct Seen {
  std::mutex mutex;
  std::vector<std::string> requests;
  void Add(const std::string& request) {
    std::lock_guard lock(mutex);
    requests.push_back(request);
  }
};

HttpRequest SecretRequest(std::string url) {
  HttpRequest request;
  request.url = std::move(url);
  request.max_redirects = 3;
  request.headers = {{"Authorization", "Bearer t"}, {"Cookie", "c=1"}, {"X-Plain", "p"}};
  return request;
}

std::unique_ptr<HttpClient> MakeClient(HttpClient::Options options = {}) {
  return HttpClient::Create(std::move(options)).value();
}

TEST(RedirectTest, SecretsStayWithTheirOrigin) {
  Seen first_seen;
  Seen other_seen;
  std::string back;
  RawServer other([&](int fd, const std::string& request) {
    other_seen.Add(request);
    SendAll(fd, request.starts_with("GET /back") ? RedirectTo(back) : kOk);
  });
  RawServer first([&](int fd, const std::string& request) {
    first_seen.Add(request);
    if (request.starts_with("GET /same")) SendAll(fd, RedirectTo("/end"));
    if (request.starts_with("GET /port")) SendAll(fd, RedirectTo(other.Url("/end")));
    if (request.starts_with("GET /there-and-back")) SendAll(fd, RedirectTo(other.Url("/back")));
    if (request.starts_with("GET /host")) {
      SendAll(fd, RedirectTo("http://localhost:" + std::to_string(first.port()) + "/end"));
    }
    SendAll(fd, kOk);
  });
  back = first.Url("/end");
  const auto client = MakeClient();
  const auto fetch = [&](const std::string& path) {
    const auto response = client->Fetch(SecretRequest(first.Url(path)), kLimit);
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response.value().body, "ok");
    EXPECT_TRUE(response.value().effective_url.ends_with("/end"));
  };
  const auto has_secrets = [](const std::string& request) {
    // Any field may be a token of the first host: only those that say how to answer go on.
    for (const char* line : {"X-Plain: p", "Cookie: c=1"}) {
      EXPECT_EQ(HasLine(request, "Authorization: Bearer t"), HasLine(request, line)) << line;
    }
    return HasLine(request, "Authorization: Bearer t");
  };
  fetch("/same");
  EXPECT_TRUE(has_secrets(first_seen.requests.back()));
  fetch("/port");
  EXPECT_FALSE(has_secrets(other_seen.requests.back()));
  fetch("/host");
  EXPECT_FALSE(has_secrets(first_seen.requests.back()));
  EXPECT_TRUE(
      HasLine(first_seen.requests.back(), "Host: localhost:" + std::to_string(first.port())));
  fetch("/there-and-back");  // what was dropped once does not come back
  EXPECT_TRUE(first_seen.requests.back().starts_with("GET /end"));
  EXPECT_FALSE(has_secrets(first_seen.requests.back()));
}

TEST(RedirectTest, OnlyAsManyAsAllowed) {
  RawServer server([](int fd, const std::string&) { SendAll(fd, RedirectTo("/again")); });
  const auto client = MakeClient();
  const auto status = client->Fetch(SecretRequest(server.Url()), kLimit).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("3 redirects"), std::string::npos) << status;
  EXPECT_EQ(server.accepted(), 4);
  auto request = SecretRequest(server.Url());
  request.max_redirects = 0;
  const auto response = client->Fetch(request, kLimit);
  EXPECT_EQ(response.value().status, 302);
  EXPECT_EQ(response.value().headers.Get("Location"), "/again");
  EXPECT_EQ(response.value().body, "moved");
}

TEST(RedirectTest, OnlyToHttp) {
  for (const char* location :
       {"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x/", "http://"}) {
    RawServer server([&](int fd, const std::string&) { SendAll(fd, RedirectTo(location)); });
    const auto status = MakeClient()->Fetch(SecretRequest(server.Url()), kLimit).status();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << location << ": " << status;
  }
}

TEST(RedirectTest, EndlessBodyOfARedirectIsCutOff) {
  RawServer server([](int fd, const std::string& request) {
    if (request.starts_with("GET /end")) {
      SendAll(fd, kOk);
      return;
    }
    SendAll(fd, "HTTP/1.1 307 Moved\r\nLocation: /end\r\n\r\n");
    while (SendAll(fd, std::string(65536, 'x'))) {
    }
  });
  const auto response = MakeClient()->Fetch(SecretRequest(server.Url()), kLimit);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response.value().body, "ok");
}

TEST(RedirectTest, MethodAndBodyFollowTheStatus) {
  Seen seen;
  std::string status;
  RawServer server([&](int fd, const std::string& request) {
    seen.Add(request);
    if (request.find("Content-Length: 4") != std::string::npos) ReadUntil(fd, "body");
    SendAll(fd, request.find(" /end") == std::string::npos ? RedirectTo("/end", status) : kOk);
  });
  const auto client = MakeClient();
  const std::pair<const char*, const char*> cases[] = {{"301 Moved", "GET"},
                                                       {"302 Found", "GET"},
                                                       {"303 See", "GET"},
                                                       {"307 Same", "POST"},
                                                       {"308 Same", "POST"}};
  for (const auto& [line, method] : cases) {
    status = line;
    auto request = SecretRequest(server.Url());
    request.method = "POST";
    request.body = "body";
    EXPECT_EQ(client->Fetch(request, kLimit).value().body, "ok") << line;
    const std::string& last = seen.requests.back();
    EXPECT_TRUE(last.starts_with(std::string(method) + " /end ")) << line << last;
    EXPECT_EQ(HasLine(last, "Content-Length: 4"), std::string(method) == "POST") << line;
  }
}

TEST(AddressTest, CheckedOnEveryHop) {
  RawServer target([](int fd, const std::string&) { SendAll(fd, kOk); });
  RawServer first([&](int fd, const std::string&) {
    SendAll(fd, RedirectTo("http://localhost:" + std::to_string(target.port()) + "/"));
  });
  std::vector<std::string> asked;
  HttpClient::Options options;
  options.check_address = [&](const std::string& host, const sockaddr& address) -> Status {
    EXPECT_TRUE(address.sa_family == AF_INET || address.sa_family == AF_INET6);
    asked.push_back(host);
    if (host == "localhost") return Unavailable("loopback is not allowed");
    return OkStatus();
  };
  const auto client = MakeClient(options);
  const auto status = client->Fetch(SecretRequest(first.Url()), kLimit).status();
  EXPECT_EQ(status.code(), StatusCode::kPermissionDenied) << status;
  EXPECT_NE(status.message().find("loopback is not allowed"), std::string::npos) << status;
  ASSERT_GE(asked.size(), 2U);
  EXPECT_EQ(asked[0], "127.0.0.1");
  EXPECT_EQ(asked[1], "localhost");
  EXPECT_EQ(target.accepted(), 0);
}

class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedEnvironment() { ::unsetenv(name_); }

 private:
  const char* name_;
};

TEST(AddressTest, BehindAProxyTheNameIsChecked) {
  Seen seen;
  RawServer proxy([&](int fd, const std::string& request) {
    seen.Add(request);
    SendAll(fd, kOk);
  });
  const ScopedEnvironment http("http_proxy", proxy.Url());
  const ScopedEnvironment none("NO_PROXY", "direct.test");
  HttpClient::Options options;
  options.check_address = [&](const std::string& host, const sockaddr& address) -> Status {
    EXPECT_EQ(address.sa_family, host == "10.9.8.7" ? AF_INET : AF_UNSPEC) << host;
    return host == "good.test" ? OkStatus() : PermissionDenied("not " + host);
  };
  const auto client = MakeClient(options);
  const auto fetch = [&](const std::string& url) {
    return client->Fetch(SecretRequest(url), kLimit);
  };
  EXPECT_EQ(fetch("http://good.test/x").value().body, "ok");
  EXPECT_TRUE(seen.requests.back().starts_with("GET http://good.test/x HTTP/1.1\r\n"));
  for (const char* url : {"http://bad.test/", "http://10.9.8.7/"}) {
    EXPECT_EQ(fetch(url).status().code(), StatusCode::kPermissionDenied) << url;
  }
  EXPECT_EQ(seen.requests.size(), 1U);
}

}  // namespace
}  // namespace hearth::net
