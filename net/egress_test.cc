#include "net/egress.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "net/http_client.h"
#include "net/raw_server_test.h"

namespace hearth::net {
namespace {

sockaddr_storage AddressOf(const std::string& text, uint16_t port = 443) {
  sockaddr_storage storage{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    storage.ss_family = AF_INET;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    storage.ss_family = AF_INET6;
  }
  v4.sin_port = htons(port);
  return storage;
}

Status Ask(const Egress& egress, const std::string& host, const std::string& address,
           uint16_t port = 443) {
  const sockaddr_storage storage = AddressOf(address, port);
  return egress.Check(host, reinterpret_cast<const sockaddr&>(storage));
}

TEST(Egress, RefusesLoopbackLinkLocalAndMetadataInEverySpelling) {
  const Egress egress = Egress::Create({}).value();
  for (const char* address : {"127.0.0.1",
                              "127.9.9.9",
                              "0.0.0.0",
                              "169.254.169.254",
                              "169.254.0.1",
                              "100.100.100.200",
                              "168.63.129.16",
                              "::1",
                              "::",
                              "fe80::1",
                              "febf::1",
                              "fd00:ec2::254",
                              "fd20:ce::254",
                              "::ffff:127.0.0.1",
                              "::ffff:169.254.169.254",
                              "::127.0.0.1",
                              "64:ff9b::7f00:1",
                              "64:ff9b::169.254.169.254",
                              "64:ff9b:1::a9fe:a9fe",
                              "64:ff9b:1:a9fe:a9:fe00::",
                              "2002:7f00:1::",
                              "2002:a9fe:a9fe::1"}) {
    const Status status = Ask(egress, "cdn.example.com", address);
    EXPECT_EQ(status.code(), StatusCode::kPermissionDenied) << address;
    EXPECT_NE(status.message().find("egress_allow"), std::string::npos) << status;
    EXPECT_NE(status.message().find("[registry.\"cdn.example.com:443\"]"), std::string::npos);
  }
  for (const char* address :
       {"10.0.0.1", "192.168.1.1", "93.184.216.34", "126.255.255.255", "169.253.0.1", "fd00::1",
        "2606:2800:220:1::1", "64:ff9b::0a00:0001", "2002:0a00:1::", "fec0::1"}) {
    EXPECT_TRUE(Ask(egress, "cdn.example.com", address).ok()) << address;
  }
}

TEST(Egress, BehindAProxyNamesAndOddSpellingsAreJudged) {
  const Egress egress = Egress::Create({}).value();
  for (const char* host : {"localhost", "LocalHost.", "a.localhost", "metadata.google.internal",
                           "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]",
                           "[fe80::1%25eth0]", "[::ffff:7f00:1]", "127.0.0.1."}) {
    EXPECT_EQ(Ask(egress, host, "").code(), StatusCode::kPermissionDenied) << host;
  }
  EXPECT_TRUE(Ask(egress, "registry.example.com", "").ok());
  EXPECT_TRUE(Ask(egress, "10.1.2.3", "").ok());
}

TEST(Egress, AllowedNetworksAndNamedHostsPass) {
  const Egress egress = Egress::Create({.allow = {"127.0.0.0/8", "fe80::/10"},
                                        .is_named =
                                            [](const std::string& host, uint16_t port) {
                                              return host == "registry.test" && port == 5000;
                                            }})
                            .value();
  EXPECT_TRUE(Ask(egress, "x", "127.0.0.1").ok());
  EXPECT_TRUE(Ask(egress, "x", "::ffff:127.0.0.1").ok());
  EXPECT_TRUE(Ask(egress, "x", "64:ff9b::7f00:1").ok());
  EXPECT_TRUE(Ask(egress, "x", "fe80::1").ok());
  EXPECT_FALSE(Ask(egress, "x", "169.254.169.254").ok());
  EXPECT_TRUE(Ask(egress, "registry.test", "169.254.1.1", 5000).ok());
  EXPECT_FALSE(Ask(egress, "registry.test", "169.254.1.1", 22).ok());
  EXPECT_TRUE(Ask(egress, "Registry.test.", "::1", 5000).ok());
}

TEST(Egress, BadNetworkIsNamed) {
  for (const char* text : {"10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "/", ""}) {
    const auto egress = Egress::Create({.allow = {text}, .is_named = nullptr});
    EXPECT_EQ(egress.status().code(), StatusCode::kInvalidArgument) << text;
  }
}

// A name that resolves to a public address for the redirect's check and to loopback for the
// connection would get past a check of names; the socket's own address does not lie.
TEST(Egress, RedirectToANameThatLeadsHereIsNotConnected) {
  RawServer target([](int fd, const std::string&) { SendAll(fd, "HTTP/1.1 200 OK\r\n\r\n"); });
  RawServer first([&](int fd, const std::string&) {
    SendAll(fd, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://localhost:" +
                    std::to_string(target.port()) + "/\r\n\r\n");
  });
  const Egress egress =
      Egress::Create(
          {.allow = {},
           .is_named = [&](const std::string&, uint16_t port) { return port == first.port(); }})
          .value();
  HttpClient::Options options;
  options.check_address = [&](const std::string& host, const sockaddr& address) {
    return egress.Check(host, address);
  };
  const auto client = HttpClient::Create(options).value();
  HttpRequest request;
  request.url = first.Url();
  request.max_redirects = 3;
  const auto answer = client->Fetch(request, 1000);
  EXPECT_EQ(answer.status().code(), StatusCode::kPermissionDenied) << answer.status();
  EXPECT_NE(answer.status().message().find("egress_allow"), std::string::npos);
  EXPECT_EQ(target.accepted(), 0);
}

}  // namespace
}  // namespace hearth::net
