// How the bytes of a fetch reach its sink.
#include <gtest/gtest.h>

#include <algorithm>
#include <stop_token>
#include <thread>

#include "oci/registry.h"
#include "oci/registry_fixture.h"

namespace hearth::oci {
namespace {

using std::chrono::milliseconds;

class BlobFlowTest : public RegistryFixture {};

// Takes bytes only after having been asked again from another thread.
class HesitantSink final : public BlobSink {
 public:
  ~HesitantSink() override {
    if (resumer_.joinable()) resumer_.join();
  }
  Status OnStart(std::optional<uint64_t> /*total*/) override { return OkStatus(); }
  bool Ready(std::function<void()> resume) override {
    ready_ = !ready_;
    if (ready_) return true;
    if (resumer_.joinable()) resumer_.join();
    resumer_ = std::thread(std::move(resume));
    return false;
  }
  Status OnData(std::string_view data) override {
    bytes += data;
    longest = std::max(longest, data.size());
    ++calls;
    return OkStatus();
  }
  std::string bytes;
  size_t longest = 0;
  size_t calls = 0;

 private:
  bool ready_ = true;
  std::thread resumer_;
};

TEST_F(BlobFlowTest, BytesAreGatheredAndPausedWithoutLoss) {
  std::string content;
  while (content.size() < (6 << 20)) content += std::to_string(content.size());
  ScriptedServer server([&](const Request& r, int count) {
    Reply reply = BlobReply(r, content);
    if (count == 1) reply.cut_after = 3'000'001;  // with some gathered
    return reply;
  });
  Registry registry = MakeRegistry();
  HesitantSink sink;
  const Status status = FetchWhole(registry, server, content, sink);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(sink.bytes, content);
  EXPECT_GT(sink.longest, 16u * 1024) << "what libcurl gives at once";
  EXPECT_LE(sink.longest, 256u * 1024);
  EXPECT_EQ(server.requests().at(1).Header("Range"), "bytes=3000001-");
}

TEST_F(BlobFlowTest, FewBytesAreHandedOnWhileMoreAreAwaited) {
  const std::string content(100'000, 'a');
  ScriptedServer server([&](const Request& r, int) {
    Reply reply = BlobReply(r, content);
    reply.cut_after = 1000;
    reply.hangs = true;
    return reply;
  });
  options_.stall_timeout = milliseconds(60'000);
  Registry registry = MakeRegistry();
  std::stop_source stop;
  class StoppingSink final : public BlobSink {
   public:
    explicit StoppingSink(std::stop_source& stop) : stop_(stop) {}
    Status OnStart(std::optional<uint64_t> /*total*/) override { return OkStatus(); }
    Status OnData(std::string_view data) override {
      bytes += data.size();
      if (bytes == 1000) stop_.request_stop();
      return OkStatus();
    }
    size_t bytes = 0;

   private:
    std::stop_source& stop_;
  } sink(stop);
  const auto began = std::chrono::steady_clock::now();
  const Status status =
      registry.FetchBlob(AccessTo(server), {Digest::Of(content)}, sink, stop.get_token());
  EXPECT_LT(std::chrono::steady_clock::now() - began, options_.stall_timeout / 3)
      << "not when the connection is given up";
  EXPECT_EQ(status.code(), StatusCode::kCancelled) << status;
  EXPECT_EQ(sink.bytes, 1000u);
}

}  // namespace
}  // namespace hearth::oci
