#include "p2p/swarm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "oci/registry_fixture.h"
#include "store/blocking.h"
#include "store/faulty.h"

namespace hearth::p2p {
namespace {

using oci::Reply;
using oci::Request;
using oci::ScriptedServer;
using testing::HasSubstr;

Deadline Soon() { return Deadline::After(std::chrono::seconds(20)); }

class SwarmTest : public oci::RegistryFixture {
 protected:
  SwarmTest()
      : store_(std::move(
            *store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_}))) {}

  static BlobRequest RequestTo(std::vector<const ScriptedServer*> servers,
                               const std::string& bytes) {
    BlobRequest request{Digest::Of(bytes), bytes.size(), {}};
    for (const auto* server : servers) request.origins.push_back(AccessTo(*server));
    return request;
  }

  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::BlobStore> store_;
  const std::string bytes_ = std::string(700'000, 'x') + "end";
};

TEST_F(SwarmTest, RefusingRegistryIsFollowedByTheNext) {
  ScriptedServer refusing([](const Request&, int) { return oci::StatusReply(403); });
  ScriptedServer good([this](const Request& request, int) { return BlobReply(request, bytes_); });
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&refusing, &good}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(good.requests().size(), 1u);
}

TEST_F(SwarmTest, ShortBodyIsResumedWhereItEnded) {
  ScriptedServer server([this](const Request& request, int count) {
    Reply reply = BlobReply(request, bytes_);
    if (count == 1) reply.cut_after = 300'000;
    return reply;
  });
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[1].Header("Range"), "bytes=300000-");
}

TEST_F(SwarmTest, WrongDigestNamesTheRegistry) {
  const std::string wrong(bytes_.size(), 'y');
  ScriptedServer server(
      [&](const Request& request, int) { return oci::BlobReply(request, wrong); });
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  const Status failed = (*fetch)->WaitComplete({}, Soon());
  EXPECT_EQ(failed.code(), StatusCode::kDataLoss) << failed;
  EXPECT_THAT(failed.message(), HasSubstr(server.host()));
}

TEST_F(SwarmTest, FailureIsRememberedUntilATransferSucceeds) {
  bool lie = true;
  ScriptedServer server([&](const Request& request, int) {
    return lie ? oci::StatusReply(404) : oci::BlobReply(request, bytes_);
  });
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  EXPECT_EQ(swarm.RecentFailure(Digest::Of(bytes_)), OkStatus());
  auto fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()).code(), StatusCode::kNotFound);
  EXPECT_EQ(swarm.RecentFailure(Digest::Of(bytes_)).code(), StatusCode::kNotFound);
  lie = false;
  fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(swarm.RecentFailure(Digest::Of(bytes_)), OkStatus());
}

TEST_F(SwarmTest, AnotherLengthThanTheManifestSaysIsRefusedBeforeTheFirstByte) {
  ScriptedServer server(
      [this](const Request& request, int) { return BlobReply(request, bytes_ + "more"); });
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()).code(), StatusCode::kDataLoss);
  EXPECT_EQ((*fetch)->blob()->PresentBytes(), 0u);
}

TEST_F(SwarmTest, SilentRegistryEndsInAnError) {
  ScriptedServer server([](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  });
  options_.stall_timeout = std::chrono::milliseconds(500);
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store_, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&server}, bytes_));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()).code(), StatusCode::kUnavailable);
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(SwarmTest, FullPoolPausesTheTransferAndNotTheLoopOfAll) {
  const std::string bytes(8 << 20, 'z');
  ScriptedServer server([&](const Request& request, int) { return BlobReply(request, bytes); });
  ScriptedServer other([](const Request&, int) { return oci::ManifestReply(); });
  store::FullPool full;
  store::GatedDisk disk;
  const store::Scratch scratch;
  const auto kv = kv::MakeMemoryKv();
  const auto store = std::move(*store::BlobStore::Open(
      {.root = scratch.path(), .kv = *kv, .cpu_pool = full.pool(), .disk = disk}));
  // The store's spare thread is busy with another blob, too.
  const std::string first(2 << 20, 'f');
  ASSERT_TRUE(store->Grow(Digest::Of(first), first.size())->blob->Write(0, first).ok());
  auto registry = MakeRegistry();
  Swarm swarm({.blobs = *store, .registry = registry});
  const auto fetch = swarm.Fetch(RequestTo({&server}, bytes));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  const auto& blob = (*fetch)->blob();
  while (blob->MayWrite([] {}) && blob->state() == store::Blob::State::kGrowing) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(registry.GetManifest(AccessTo(other), "latest").ok()) << "others go on";
  EXPECT_EQ(blob->state(), store::Blob::State::kGrowing);
  EXPECT_LT(blob->PresentBytes(), bytes.size());
  disk.Open();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(server.requests().size(), 1u);
}

}  // namespace
}  // namespace hearth::p2p
