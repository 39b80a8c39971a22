#include "base/host_port.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

TEST(HostPort, ReadsAndWritesWhatConfigurationsSay) {
  for (const auto& [text, host, port] : {std::tuple{"127.0.0.1:7733", "127.0.0.1", 7733},
                                         {"manager.local:0", "manager.local", 0},
                                         {"[::1]:65535", "::1", 65535},
                                         {"[fe80::1%eth0]:1", "fe80::1%eth0", 1}}) {
    const auto parsed = HostPort::Parse(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(parsed->host, host);
    EXPECT_EQ(parsed->port, port);
    EXPECT_EQ(parsed->ToString(), text);
  }
}

TEST(HostPort, RefusesWhatIsNoAddressOrNoPort) {
  for (const char* text :
       {"", ":", ":80", "host", "host:", "host:65536", "host:-1", "host:1x", "::1:80", "[]:80",
        "[::1]", "host: 80", "[host:80", "host]:80", "host:18446744073709551617"}) {
    EXPECT_EQ(HostPort::Parse(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace hearth
