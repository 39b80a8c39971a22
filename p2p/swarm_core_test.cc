#include "p2p/swarm_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>

#include "kv/kv.h"
#include "store/faulty.h"

namespace hearth::p2p {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

Deadline Soon() { return Deadline::After(seconds(20)); }

// A source that does what the test says.
class ScriptedSource final : public Source {
 public:
  using Script = std::function<Status(BlobWriter&, std::stop_token)>;
  ScriptedSource(std::string name, Script script)
      : name_(std::move(name)), script_(std::move(script)) {}
  std::string name() const override { return name_; }
  Status Fetch(BlobWriter& into, std::stop_token stop) override { return script_(into, stop); }

 private:
  const std::string name_;
  const Script script_;
};

// Blocks until opened, or until `stop`.
class Gate {
 public:
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  Status Pass(std::stop_token stop) {
    const std::stop_callback wake(stop, [this] {
      MutexLock lock(mutex_);
      changed_.NotifyAll();
    });
    MutexLock lock(mutex_);
    while (!open_ && !stop.stop_requested()) changed_.Wait(mutex_);
    return open_ ? OkStatus() : Cancelled("the gate");
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ GUARDED_BY(mutex_) = false;
};

class SwarmCoreTest : public testing::Test {
 protected:
  void SetUp() override {
    store_ = std::move(
        *store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_}));
    Start(2, 16);
  }
  void TearDown() override { core_->Stop(); }

  void Start(size_t threads, size_t queue_limit) {
    if (core_) core_->Stop();
    core_ = std::make_shared<SwarmCore>(SwarmCore::Options{
        .blobs = *store_,
        .open_source =
            [this](const oci::Access& access) {
              ++opened_[access.registry];
              return std::make_unique<ScriptedSource>(access.registry, scripts_[access.registry]);
            },
        .threads = threads,
        .queue_limit = queue_limit,
        .hand_over_wait = hand_over_wait_});
  }
  static BlobRequest RequestFor(const std::string& bytes, std::vector<std::string> registries) {
    BlobRequest request{Digest::Of(bytes), bytes.size(), {}};
    for (std::string& registry : registries) {
      request.origins.push_back({std::move(registry), "app", {}});
    }
    return request;
  }
  static ScriptedSource::Script Giving(const std::string& bytes) {
    return [bytes](BlobWriter& into, std::stop_token) {
      return into.Append(std::string_view(bytes).substr(into.offset()));
    };
  }

  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::BlobStore> store_;
  std::map<std::string, ScriptedSource::Script> scripts_;
  std::map<std::string, std::atomic<int>> opened_;
  std::chrono::milliseconds hand_over_wait_{20'000};
  std::shared_ptr<SwarmCore> core_;
};

TEST_F(SwarmCoreTest, FetchesABlobAndAnswersTheNextFromTheStore) {
  scripts_["a"] = Giving("hello");
  const auto fetch = core_->Join(RequestFor("hello", {"a"}));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_TRUE((*fetch)->WaitComplete({}, Soon()).ok());
  EXPECT_TRUE(store_->Info(Digest::Of("hello")).ok());

  for (const auto& registries : {std::vector<std::string>{}, {"a"}}) {
    const auto again = core_->Join(RequestFor("hello", registries));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ((*again)->blob()->state(), store::Blob::State::kComplete);
  }
  EXPECT_EQ(opened_["a"], 1);
}

TEST_F(SwarmCoreTest, AnEmptyBlobNeedsNoSource) {
  scripts_["a"] = [](BlobWriter& into, std::stop_token) {
    return into.offset() == into.size_bytes() ? OkStatus() : Internal("not empty");
  };
  const auto fetch = core_->Join(RequestFor("", {"a"}));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_TRUE((*fetch)->WaitComplete({}, Soon()).ok());
}

TEST_F(SwarmCoreTest, ManyRequestsAreOneTransfer) {
  Gate gate;
  scripts_["a"] = [&](BlobWriter& into, std::stop_token stop) {
    TRY_STATUS(gate.Pass(stop));
    return into.Append("hello");
  };
  std::vector<std::future<Status>> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(std::async(std::launch::async, [&] {
      auto fetch = core_->Join(RequestFor("hello", {"a"}));
      if (!fetch.ok()) return fetch.status();
      return (*fetch)->WaitComplete({}, Soon());
    }));
  }
  const auto mine = core_->Join(RequestFor("hello", {"a"}));
  gate.Open();
  for (auto& one : all) EXPECT_EQ(one.get(), OkStatus());
  EXPECT_EQ(opened_["a"], 1);
}

TEST_F(SwarmCoreTest, FailingSourceIsFollowedByTheNextAndTheLastErrorIsToldToReaders) {
  scripts_["gone"] = [](BlobWriter& into, std::stop_token) {
    TRY_STATUS(into.Append("he"));
    return Unavailable("cut off");
  };
  scripts_["secret"] = [](BlobWriter&, std::stop_token) { return PermissionDenied("403"); };
  scripts_["good"] = [](BlobWriter& into, std::stop_token) {
    EXPECT_EQ(into.offset(), 2u);
    return into.Append("llo");
  };
  auto fetch = core_->Join(RequestFor("hello", {"gone", "secret", "good"}));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());

  fetch = core_->Join(RequestFor("other", {"gone", "secret"}));
  const Status failed = (*fetch)->WaitComplete({}, Soon());
  EXPECT_EQ(failed.code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(failed.message(), HasSubstr("secret"));
  EXPECT_EQ((*fetch)->blob()->failure(), failed);
}

TEST_F(SwarmCoreTest, SilentRegistryIsNotWaitedForAgainWithAnotherCredential) {
  scripts_["silent"] = [](BlobWriter&, std::stop_token) { return DeadlineExceeded("no byte"); };
  scripts_["good"] = Giving("hello");
  BlobRequest request = RequestFor("hello", {"silent", "silent", "silent", "good"});
  for (size_t i = 0; i < 3; ++i) {
    request.origins[i].authorization = Secret<std::string>("caller " + std::to_string(i));
  }
  const auto fetch = core_->Join(std::move(request));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(opened_["silent"], 1);
  EXPECT_EQ(opened_["good"], 1);
}

TEST_F(SwarmCoreTest, SilenceIsNoDeadlineOfTheReaders) {
  scripts_["silent"] = [](BlobWriter&, std::stop_token) { return DeadlineExceeded("no byte"); };
  const auto fetch = core_->Join(RequestFor("hello", {"silent"}));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  const Status failed = (*fetch)->WaitComplete({}, Soon());
  EXPECT_EQ(failed.code(), StatusCode::kUnavailable) << failed;
  EXPECT_THAT(failed.message(), HasSubstr("no byte"));
}

TEST_F(SwarmCoreTest, TransferWithAWrongSizeDoesNotHoldTheDigest) {
  Gate gate;
  std::atomic<int> asked = 0;
  scripts_["liar"] = [&](BlobWriter&, std::stop_token stop) {
    ++asked;
    TRY_STATUS(gate.Pass(stop));
    return DataLoss("has another size");
  };
  scripts_["good"] = Giving("hello");
  auto wrong = RequestFor("hello", {"liar"});
  wrong.size_bytes = 500;
  const auto held = core_->Join(std::move(wrong));
  ASSERT_TRUE(held.ok()) << held.status();
  auto right =
      std::async(std::launch::async, [this] { return core_->Join(RequestFor("hello", {"good"})); });
  while (asked == 0) std::this_thread::yield();
  gate.Open();
  const auto fetch = right.get();
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, LaterRequestAddsItsOrigin) {
  Gate gate;
  scripts_["bad"] = [&](BlobWriter&, std::stop_token stop) {
    TRY_STATUS(gate.Pass(stop));
    return NotFound("404");
  };
  scripts_["good"] = Giving("hello");
  const auto first = core_->Join(RequestFor("hello", {"bad"}));
  const auto second = core_->Join(RequestFor("hello", {"bad", "good"}));
  gate.Open();
  EXPECT_EQ((*first)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ(opened_["bad"], 1);
}

TEST_F(SwarmCoreTest, WrongBytesFailTheirReadersAndTheNextSourceFillsANewBlob) {
  Gate gate;
  scripts_["liar"] = Giving("jello");
  scripts_["good"] = [&](BlobWriter& into, std::stop_token stop) {
    EXPECT_EQ(into.offset(), 0u);
    TRY_STATUS(gate.Pass(stop));
    return into.Append("hello");
  };
  const auto fetch = core_->Join(RequestFor("hello", {"liar", "good"}));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  EXPECT_EQ((*fetch)->blob()->WaitComplete({}, Soon()).code(), StatusCode::kDataLoss);
  const auto again = core_->Join(RequestFor("hello", {}));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE((*again)->blob(), (*fetch)->blob());
  gate.Open();
  EXPECT_EQ((*again)->blob()->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, OnlyLiarsLeaveNothingBehind) {
  scripts_["liar"] = Giving("jello");
  const auto fetch = core_->Join(RequestFor("hello", {"liar"}));
  const Status failed = (*fetch)->WaitComplete({}, Soon());
  EXPECT_EQ(failed.code(), StatusCode::kDataLoss) << failed;
  EXPECT_THAT(failed.message(), HasSubstr("liar"));
  EXPECT_FALSE(store_->Info(Digest::Of("hello")).ok());
  EXPECT_EQ(store_->FindGrowing(Digest::Of("hello")), nullptr);
}

TEST_F(SwarmCoreTest, TooManyBytesAreTheSourcesFault) {
  scripts_["long"] = Giving("hello, world");
  scripts_["good"] = Giving("hello");
  const auto fetch = core_->Join(RequestFor("hello", {"long", "good"}));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, LastShareDroppedCancelsAndTheNextTransferResumes) {
  const std::string bytes(kMinPieceSizeBytes + 1000, 'x');
  Gate started;
  std::promise<Status> ended;
  scripts_["slow"] = [&](BlobWriter& into, std::stop_token stop) {
    TRY_STATUS(into.Append(bytes.substr(0, kMinPieceSizeBytes + 10)));
    started.Open();
    Gate never;
    const Status status = never.Pass(stop);
    ended.set_value(status);
    return status;
  };
  scripts_["good"] = [&](BlobWriter& into, std::stop_token) {
    EXPECT_EQ(into.offset(), kMinPieceSizeBytes);
    return into.Append(bytes.substr(into.offset()));
  };
  auto one = core_->Join(RequestFor(bytes, {"slow"}));
  auto two = core_->Join(RequestFor(bytes, {"slow"}));
  ASSERT_TRUE(one.ok() && two.ok());
  const auto blob = (*one)->blob();
  ASSERT_TRUE(started.Pass({}).ok());
  *one = nullptr;
  EXPECT_EQ(blob->state(), store::Blob::State::kGrowing);
  *two = nullptr;
  EXPECT_EQ(ended.get_future().get().code(), StatusCode::kCancelled);
  EXPECT_EQ(blob->WaitComplete({}, Soon()).code(), StatusCode::kCancelled);
  const auto next = core_->Join(RequestFor(bytes, {"good"}));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ((*next)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, SourceThatEndsEarlyIsFollowedByTheNext) {
  scripts_["short"] = [](BlobWriter& into, std::stop_token) { return into.Append("hel"); };
  scripts_["good"] = [](BlobWriter& into, std::stop_token) { return into.Append("lo"); };
  const auto fetch = core_->Join(RequestFor("hello", {"short", "good"}));
  EXPECT_EQ((*fetch)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, NewcomerTakesOverATransferThatIsBeingCancelled) {
  Gate started;
  Gate cancelled;
  Gate joined;
  std::atomic<int> tries = 0;
  scripts_["a"] = [&](BlobWriter& into, std::stop_token stop) -> Status {
    if (++tries > 1) return into.Append("hello");
    started.Open();
    Gate never;
    const Status status = never.Pass(stop);
    cancelled.Open();
    TRY_STATUS(joined.Pass({}));
    return status;
  };
  auto first = core_->Join(RequestFor("hello", {"a"}));
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(started.Pass({}).ok());
  *first = nullptr;
  ASSERT_TRUE(cancelled.Pass({}).ok());
  const auto second = core_->Join(RequestFor("hello", {"a"}));
  joined.Open();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*second)->blob()->state(), store::Blob::State::kComplete);
}

TEST_F(SwarmCoreTest, QueuedTransferHasItsBlobAndAFullQueueRefuses) {
  Start(1, 1);
  Gate gate;
  Gate started;
  scripts_["a"] = [&](BlobWriter& into, std::stop_token stop) {
    started.Open();
    TRY_STATUS(gate.Pass(stop));
    return into.Append(into.size_bytes() == 3 ? "one" : "three");
  };
  const auto one = core_->Join(RequestFor("one", {"a"}));
  ASSERT_TRUE(started.Pass({}).ok());
  const auto queued = core_->Join(RequestFor("three", {"a"}));
  ASSERT_TRUE(queued.ok()) << queued.status();
  EXPECT_EQ((*queued)->blob()->state(), store::Blob::State::kGrowing);
  EXPECT_EQ(core_->Join(RequestFor("fourth", {"a"})).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(store_->FindGrowing(Digest::Of("fourth")), nullptr);
  gate.Open();
  EXPECT_EQ((*one)->WaitComplete({}, Soon()), OkStatus());
  EXPECT_EQ((*queued)->WaitComplete({}, Soon()), OkStatus());
}

TEST_F(SwarmCoreTest, RefusesAnotherSizeAndNobody) {
  hand_over_wait_ = std::chrono::milliseconds(50);
  Start(2, 16);
  Gate gate;
  scripts_["a"] = [&](BlobWriter&, std::stop_token stop) { return gate.Pass(stop); };
  EXPECT_EQ(core_->Join(RequestFor("hello", {})).status().code(), StatusCode::kNotFound);
  const auto fetch = core_->Join(RequestFor("hello", {"a"}));
  BlobRequest other = RequestFor("hello", {"a"});
  other.size_bytes = 17;
  EXPECT_EQ(core_->Join(other).status().code(), StatusCode::kUnavailable);
  core_->Stop();  // before the gate goes
}

TEST_F(SwarmCoreTest, StopCancelsRunningAndQueuedTransfers) {
  Start(1, 16);
  Gate started;
  scripts_["a"] = [&](BlobWriter&, std::stop_token stop) {
    started.Open();
    Gate never;
    return never.Pass(stop);
  };
  const auto running = core_->Join(RequestFor("one", {"a"}));
  ASSERT_TRUE(started.Pass({}).ok());
  const auto queued = core_->Join(RequestFor("three", {"a"}));
  core_->Stop();
  for (const auto& fetch : {running, queued}) {
    EXPECT_EQ((*fetch)->WaitComplete({}, Soon()).code(), StatusCode::kCancelled);
    EXPECT_EQ((*fetch)->blob()->state(), store::Blob::State::kFailed);
  }
  EXPECT_EQ(core_->Join(RequestFor("five5", {"a"})).status().code(), StatusCode::kCancelled);
}

TEST_F(SwarmCoreTest, WaitEndsWithItsStopTokenAndItsDeadline) {
  Gate gate;
  scripts_["a"] = [&](BlobWriter&, std::stop_token stop) { return gate.Pass(stop); };
  const auto fetch = core_->Join(RequestFor("hello", {"a"}));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ((*fetch)->WaitComplete(stop.get_token()).code(), StatusCode::kCancelled);
  EXPECT_EQ((*fetch)->WaitComplete({}, Deadline::After(std::chrono::milliseconds(1))).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ((*fetch)->blob()->state(), store::Blob::State::kGrowing);
  core_->Stop();  // before the gate goes
}

}  // namespace
}  // namespace hearth::p2p
