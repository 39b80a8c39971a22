#include "plugin/file_download.h"

#include <gtest/gtest.h>

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

  const std::string content_ = std::string(900'000, 'f') + "ile";
  oci::ScriptedServer server_{[this](const oci::Request&, int) {
    oci::Reply reply;
    reply.body = content_;
    return reply;
  }};
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
  p2p::Limiter limiter({.upload = 0, .download = 100, .origin = 0});  // two hours and a half
  std::stop_source stop;
  const auto file = Get(
      limiter,
      [&](const FileProgress& progress) {
        if (progress.present_bytes > 0) stop.request_stop();
      },
      stop.get_token());
  EXPECT_EQ(file.status().code(), StatusCode::kCancelled) << file.status();
}

}  // namespace
}  // namespace hearth::plugin
