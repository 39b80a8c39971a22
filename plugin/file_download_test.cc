#include "plugin/file_download.h"

#include <gtest/gtest.h>

#include <thread>

#include "oci/scripted_server.h"
#include "store/faulty.h"
#include "store/store.h"

namespace hearth::plugin {
namespace {

class FileDownloadTest : public testing::Test {
 protected:
  Result<FileResult> Get(p2p::Limiter& limiter,
                         const std::function<void(const FileProgress&)>& progress,
                         std::stop_token stop) {
    FileCache files({.blobs = store_->blobs(),
                     .ingests = store_->ingests(),
                     .kv = store_->kv(),
                     .client = *client_,
                     .limiter = &limiter});
    return files.Get({server_.url() + "/f", {}, {}}, progress, std::move(stop));
  }

  static constexpr std::chrono::seconds kLong{60};

  std::string content_ = std::string(900'000, 'f') + "ile";
  oci::ScriptedServer::Script script_ = [this](const oci::Request&, int) {
    oci::Reply reply;
    reply.body = content_;
    return reply;
  };
  oci::ScriptedServer server_{
      [this](const oci::Request& request, int count) { return script_(request, count); }};
  store::Scratch scratch_;
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::Store> store_ = std::move(
      *store::Store::Open({.root = scratch_.path(), .cpu_pool = pool_, .kv = kv::MakeMemoryKv()}));
  std::unique_ptr<net::HttpClient> client_ = std::move(*net::HttpClient::Create({}));
};

TEST_F(FileDownloadTest, WhatFileServersSendIsChargedAsTheOrigins) {
  constexpr uint64_t kRate = 4'000'000;
  p2p::Limiter limiter({.upload = 0, .download = 0, .origin = kRate});
  const SteadyTime began = std::chrono::steady_clock::now();
  const auto file = Get(limiter, nullptr, {});
  ASSERT_TRUE(file.ok()) << file.status();
  const SteadyTime paid = limiter.Charge(p2p::Limiter::Traffic::kOrigin, 0, began);
  const double owed = static_cast<double>(content_.size()) / kRate;
  EXPECT_GE(std::chrono::duration<double>(paid - began).count(),
            owed - p2p::TokenBucket::kBurstSeconds - 0.001);
}

TEST_F(FileDownloadTest, IsCancelledWhileItWaitsForTheLimits) {
  content_.resize(4 * HttpStream::kBufferBytes);                      // it comes in several parts
  p2p::Limiter limiter({.upload = 0, .download = 100, .origin = 0});  // two hours and a half
  std::stop_source stop;
  std::thread stopper([&] {
    const auto now = [] { return std::chrono::steady_clock::now(); };
    while (limiter.Charge(p2p::Limiter::Traffic::kOrigin, 0, now()) < now() + kLong) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    stop.request_stop();  // something was charged that takes long to pay
  });
  const auto file = Get(limiter, nullptr, stop.get_token());
  stopper.join();
  EXPECT_EQ(file.status().code(), StatusCode::kCancelled) << file.status();
}

TEST_F(FileDownloadTest, NobodyWaitsBehindTheLastByte) {
  content_.resize(1000);
  p2p::Limiter limiter({.upload = 0, .download = 1, .origin = 0});
  const SteadyTime began = std::chrono::steady_clock::now();
  const auto file = Get(limiter, nullptr, {});
  ASSERT_TRUE(file.ok()) << file.status();
  const SteadyTime ended = std::chrono::steady_clock::now();
  EXPECT_LT(ended - began, kLong);
  EXPECT_GT(limiter.Charge(p2p::Limiter::Traffic::kOrigin, 0, ended), ended + kLong)
      << "the next one pays";
}

TEST_F(FileDownloadTest, WhatIsAllHereIsNotFetchedAgainOnA416) {
  p2p::Limiter limiter({});
  script_ = [this](const oci::Request& request, int count) {
    oci::Reply reply;
    reply.headers = {{"ETag", "\"1\""}};
    if (count == 1) {  // the connection breaks where the file ends
      reply.body = content_ + "x";
      reply.cut_after = content_.size();
      return reply;
    }
    EXPECT_EQ(request.Header("Range"), "bytes=" + std::to_string(content_.size()) + "-");
    reply.status = 416;
    reply.headers["Content-Range"] = "bytes */" + std::to_string(content_.size());
    return reply;
  };
  const auto file = Get(limiter, nullptr, {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->digest, Digest::Of(content_));
  EXPECT_EQ(server_.requests().size(), 2u);
}

}  // namespace
}  // namespace hearth::plugin
