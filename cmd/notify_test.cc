#include "cmd/notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"

namespace hearth::cmd {
namespace {

// The service manager's end.
class NotifyTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "notify." + std::to_string(::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    ASSERT_LT(path_.size(), sizeof(address.sun_path));
    std::memcpy(address.sun_path, path_.data(), path_.size());
    fd_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  void TearDown() override {
    std::filesystem::remove(path_);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  std::string Got() {
    char buffer[4096];
    const ssize_t size = ::recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    return size < 0 ? "" : std::string(buffer, static_cast<size_t>(size));
  }

  std::string path_;
  Fd fd_;
};

TEST_F(NotifyTest, SaysEachStateInItsOwnDatagram) {
  const Notifier notifier = Notifier::FromEnvironment();
  notifier.Ready("serving\nMAINPID=1");
  EXPECT_EQ(Got(), "READY=1\nSTATUS=serving MAINPID=1");
  notifier.Reloading();
  EXPECT_TRUE(Got().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  notifier.Say("x");
  EXPECT_EQ(Got(), "STATUS=x");
  notifier.KeepAlive();
  EXPECT_EQ(Got(), "WATCHDOG=1");
  notifier.Stopping();
  EXPECT_EQ(Got(), "STOPPING=1\nSTATUS=stopping");
  EXPECT_EQ(Got(), "");
}

TEST_F(NotifyTest, ChildrenDoNotSpeakForUs) {
  (void)Notifier::FromEnvironment();
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  Notifier::FromEnvironment().Ready("again");
  EXPECT_EQ(Got(), "");
}

TEST_F(NotifyTest, HalfOfTheWatchdogsTimeWhereItIsOurs) {
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(Notifier::FromEnvironment().keep_alive_interval(), std::chrono::seconds(15));
  ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(Notifier::FromEnvironment().keep_alive_interval());
}

TEST_F(NotifyTest, AManagerThatIsGoneIsNoError) {
  const Notifier notifier = Notifier::FromEnvironment();
  std::filesystem::remove(path_);
  notifier.Ready("x");
  ::setenv("NOTIFY_SOCKET", std::string(500, 'x').c_str(), 1);
  Notifier::FromEnvironment().Ready("x");
}

}  // namespace
}  // namespace hearth::cmd
