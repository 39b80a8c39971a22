#include "plugin/write_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <tuple>

#include "kv/kv.h"
#include "store/blob_store.h"
#include "store/faulty.h"
#include "store/ingest_store.h"

namespace hearth::plugin {
namespace {

using Action = WriteMessage::Action;
using testing::HasSubstr;

constexpr auto kLong = std::chrono::seconds(20);

class WriteStreamTest : public testing::Test {
 protected:
  WriteStreamTest() {
    auto blobs = store::BlobStore::Open({.root = scratch_.path(), .kv = *kv_, .cpu_pool = pool_});
    EXPECT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = std::move(*blobs);
    auto ingests =
        store::IngestStore::Open({.root = scratch_.path(), .kv = *kv_, .blobs = *blobs_});
    EXPECT_TRUE(ingests.ok()) << ingests.status();
    ingests_ = std::move(*ingests);
  }

  std::unique_ptr<WriteStream> NewStream() {
    return std::make_unique<WriteStream>(WriteStream::Options{*ingests_, *blobs_, pool_});
  }
  static std::future<Result<WriteReply>> Send(WriteStream& stream, const WriteMessage& message) {
    auto promise = std::make_shared<std::promise<Result<WriteReply>>>();
    auto future = promise->get_future();
    stream.Handle(message,
                  [promise](Result<WriteReply> reply) { promise->set_value(std::move(reply)); });
    return future;
  }
  // The answer of a message that must not wait.
  static Result<WriteReply> Ask(WriteStream& stream, const WriteMessage& message) {
    auto future = Send(stream, message);
    if (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      stream.Cancel();
      return Internal("the answer did not come at once");
    }
    return future.get();
  }
  static WriteMessage Stat(std::string ref = "", uint64_t total = 0) {
    return {.ref = std::move(ref), .total_bytes = total};
  }
  static WriteMessage Write(uint64_t offset, std::span<const char> data) {
    return {.action = Action::kWrite, .offset_bytes = offset, .data = {data}};
  }
  static WriteMessage Commit(uint64_t offset, uint64_t total, std::string expected = "") {
    return {.action = Action::kCommit,
            .total_bytes = total,
            .expected = std::move(expected),
            .offset_bytes = offset};
  }
  // As containerd names what it fetches.
  static std::string RefOf(const std::string& bytes) {
    return "k8s.io/1/layer-" + Digest::Of(bytes).ToString();
  }
  std::shared_ptr<store::Blob> Grow(const std::string& bytes) {
    auto grown = blobs_->Grow(Digest::Of(bytes), bytes.size());
    EXPECT_TRUE(grown.ok() && grown->writer) << grown.status();
    return grown->blob;
  }
  bool Claimed(const std::string& bytes) {
    auto info = blobs_->Info(Digest::Of(bytes));
    return info.ok() && info->claimed;
  }

  store::Scratch scratch_;
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  ThreadPool pool_{{.name = "test", .threads = 2}};
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::IngestStore> ingests_;
  const std::string bytes_ = std::string(300'000, 'x') + "the end";
};

TEST(DigestOfRefTest, TakesTheTailOfAFetch) {
  const Digest digest = Digest::Of("a");
  EXPECT_EQ(DigestOfRef("k8s.io/1/layer-" + digest.ToString()), digest);
  EXPECT_EQ(DigestOfRef("layer-sha256:x-" + digest.ToString()), digest);
  EXPECT_FALSE(DigestOfRef("k8s.io/1/layer-" + digest.ToString() + "x"));
  EXPECT_FALSE(DigestOfRef(digest.ToString()));
  EXPECT_FALSE(DigestOfRef("tar-123"));
}

TEST_F(WriteStreamTest, WritesInTurnsAndCommits) {
  auto stream = NewStream();
  auto reply = Ask(*stream, Stat("r", bytes_.size()));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, 0u);
  EXPECT_EQ(reply->ingest.total_bytes, bytes_.size());
  EXPECT_EQ(reply->digest, Digest::Of("").ToString());

  const std::span<const char> all(bytes_);
  reply = Ask(*stream, Write(0, all.first(1000)));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, 1000u);
  EXPECT_EQ(reply->digest, Digest::Of(bytes_.substr(0, 1000)).ToString());
  ASSERT_TRUE(Ask(*stream, Write(1000, all.subspan(1000))).ok());

  reply = Ask(*stream, Commit(bytes_.size(), bytes_.size(), Digest::Of(bytes_).ToString()));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->last);
  EXPECT_EQ(reply->ingest.offset_bytes, bytes_.size());
  EXPECT_EQ(reply->digest, Digest::Of(bytes_).ToString());
  ASSERT_TRUE(stream->committed().has_value());
  EXPECT_EQ(stream->committed()->ref, "r");
  EXPECT_TRUE(Claimed(bytes_));
  EXPECT_EQ(ingests_->Info("r").status().code(), StatusCode::kNotFound);
}

TEST_F(WriteStreamTest, CommitTakesDataAndLabels) {
  auto stream = NewStream();
  WriteMessage commit = Commit(0, 3);
  commit.ref = "r";
  commit.data = {std::span<const char>("a", 1), std::span<const char>("bc", 2)};
  commit.labels = {{"k", "v"}};
  ASSERT_TRUE(Ask(*stream, commit).ok());
  EXPECT_EQ(blobs_->Info(Digest::Of("abc"))->labels.at("k"), "v");
}

TEST_F(WriteStreamTest, OffsetZeroStartsAnewAndAWrongOneIsOutOfRange) {
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat("r")).ok());
  ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>("abcdef", 6))).ok());
  auto reply = Ask(*stream, Write(0, std::span<const char>("xyz", 3)));
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->digest, Digest::Of("xyz").ToString());
  EXPECT_EQ(Ask(*stream, Write(5, std::span<const char>("!", 1))).status().code(),
            StatusCode::kOutOfRange);
}

TEST_F(WriteStreamTest, FirstMessageNeedsARefAndAnotherRefIsRefused) {
  EXPECT_EQ(Ask(*NewStream(), Stat()).status().code(), StatusCode::kInvalidArgument);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat("r")).ok());
  EXPECT_EQ(Ask(*stream, Stat("other")).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(WriteStreamTest, HeldRefIsUnavailableUntilReleased) {
  auto first = NewStream();
  ASSERT_TRUE(Ask(*first, Stat("r")).ok());
  EXPECT_EQ(Ask(*NewStream(), Stat("r")).status().code(), StatusCode::kUnavailable);
  first->Release();
  EXPECT_TRUE(Ask(*NewStream(), Stat("r")).ok());
}

TEST_F(WriteStreamTest, WrongDigestOrSizeKeepsTheIngest) {
  for (const WriteMessage& wrong : {Commit(3, 4), Commit(3, 3, Digest::Of("other").ToString())}) {
    auto stream = NewStream();
    ASSERT_TRUE(Ask(*stream, Stat("r")).ok());
    ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>("abc", 3))).ok());
    EXPECT_EQ(Ask(*stream, wrong).status().code(), StatusCode::kFailedPrecondition);
    stream->Release();
    auto again = NewStream();
    auto reply = Ask(*again, Stat("r"));
    ASSERT_TRUE(reply.ok());
    EXPECT_EQ(reply->ingest.offset_bytes, 3u);
  }
}

TEST_F(WriteStreamTest, WrongBytesOfTheBlobThatTheRefNamesAreDropped) {
  const std::string ref = RefOf("abc");
  const std::string digest = Digest::Of("abc").ToString();
  // Too few may still become right, whatever total a COMMIT names.
  for (const auto& [bytes, total, left] :
       {std::tuple<std::string, uint64_t, uint64_t>{"ab", 3, 2}, {"ab", 1, 2}, {"abX", 3, 0}}) {
    auto stream = NewStream();
    ASSERT_TRUE(Ask(*stream, Stat(ref, 3)).ok());
    ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>(bytes))).ok());
    EXPECT_EQ(Ask(*stream, Commit(bytes.size(), total, digest)).status().code(),
              StatusCode::kFailedPrecondition);
    stream->Release();
    auto again = NewStream();
    const auto reply = Ask(*again, Stat(ref, 3));
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->ingest.offset_bytes, left) << bytes;
  }
}

TEST_F(WriteStreamTest, CommitOfWhatIsThereAlreadyExistsAndFreesTheRef) {
  auto grown = Grow("abc");
  ASSERT_TRUE(grown->Write(0, std::span<const char>("abc", 3)).ok());
  ASSERT_TRUE(grown->WaitComplete({}, Deadline::After(kLong)).ok());
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat("r")).ok());
  ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>("abc", 3))).ok());
  EXPECT_EQ(Ask(*stream, Commit(3, 3)).status().code(), StatusCode::kAlreadyExists);
  stream->Release();
  EXPECT_TRUE(Claimed("abc"));
  auto again = NewStream();
  EXPECT_EQ(Ask(*again, Stat("r"))->ingest.offset_bytes, 0u);
}

TEST_F(WriteStreamTest, WrongBytesForAnExistingDigestAreNotTakenForIt) {
  auto grown = Grow("abc");
  ASSERT_TRUE(grown->Write(0, std::span<const char>("abc", 3)).ok());
  ASSERT_TRUE(grown->WaitComplete({}, Deadline::After(kLong)).ok());
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat("r")).ok());
  ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>("abX", 3))).ok());
  EXPECT_EQ(Ask(*stream, Commit(3, 3, Digest::Of("abc").ToString())).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_F(WriteStreamTest, OpeningForAnExistingDigestSaysSo) {
  auto grown = Grow("abc");
  ASSERT_TRUE(grown->Write(0, std::span<const char>("abc", 3)).ok());
  ASSERT_TRUE(grown->WaitComplete({}, Deadline::After(kLong)).ok());
  WriteMessage stat = Stat("r", 3);
  stat.expected = Digest::Of("abc").ToString();
  EXPECT_EQ(Ask(*NewStream(), stat).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(ingests_->Info("r").status().code(), StatusCode::kNotFound);
  stat.expected = "sha256:xyz";
  EXPECT_EQ(Ask(*NewStream(), stat).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(WriteStreamTest, SecondStatWaitsForWhatWeFetchAndCommitTakesIt) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  auto reply = Ask(*stream, Stat(RefOf(bytes_), bytes_.size()));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, 0u);

  auto waiting = Send(*stream, Stat());
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  ASSERT_TRUE(grown->Write(0, bytes_).ok());
  ASSERT_EQ(waiting.wait_for(kLong), std::future_status::ready);
  reply = waiting.get();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, bytes_.size());
  EXPECT_EQ(reply->digest, Digest::Of(bytes_).ToString());

  // What containerd asks inside Commit must come at once.
  reply = Ask(*stream, Stat());
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, bytes_.size());
  // Its writer believes to be at offset 0.
  reply = Ask(*stream, Commit(0, bytes_.size(), Digest::Of(bytes_).ToString()));
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_TRUE(reply->last);
  EXPECT_EQ(reply->ingest.offset_bytes, bytes_.size());
  EXPECT_EQ(reply->digest, Digest::Of(bytes_).ToString());
  EXPECT_TRUE(Claimed(bytes_));
  EXPECT_TRUE(stream->committed().has_value());
  EXPECT_EQ(ingests_->Info(RefOf(bytes_)).status().code(), StatusCode::kNotFound);
}

TEST_F(WriteStreamTest, WrongCommitOfWhatWeFetchedIsRefused) {
  auto grown = Grow(bytes_);
  ASSERT_TRUE(grown->Write(0, std::span<const char>(bytes_).first(1)).ok());
  for (const WriteMessage& wrong : {Commit(0, 5), Commit(0, 0, Digest::Of("other").ToString())}) {
    auto stream = NewStream();
    ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_))).ok());
    auto waiting = Send(*stream, Stat());
    if (grown->state() == store::Blob::State::kGrowing) {
      ASSERT_TRUE(grown->Write(1, std::span<const char>(bytes_).subspan(1)).ok());
    }
    ASSERT_EQ(waiting.wait_for(kLong), std::future_status::ready);
    ASSERT_TRUE(waiting.get().ok());
    EXPECT_EQ(Ask(*stream, wrong).status().code(), StatusCode::kFailedPrecondition);
    EXPECT_FALSE(stream->committed().has_value());
  }
}

TEST_F(WriteStreamTest, FailedFetchTellsTheTrueOffsetAndTheClientGoesOn) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_), bytes_.size())).ok());
  auto waiting = Send(*stream, Stat());
  grown->Fail(Unavailable("no source"));
  ASSERT_EQ(waiting.wait_for(kLong), std::future_status::ready);
  auto reply = waiting.get();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, 0u);
  EXPECT_TRUE(Ask(*stream, Stat()).ok());
  ASSERT_TRUE(Ask(*stream, Write(0, bytes_)).ok());
  EXPECT_TRUE(Ask(*stream, Commit(bytes_.size(), bytes_.size())).ok());
}

TEST_F(WriteStreamTest, CancelEndsTheWaitAndTheFetchGoesOn) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_), bytes_.size())).ok());
  auto waiting = Send(*stream, Stat());
  stream->Cancel();
  ASSERT_EQ(waiting.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(waiting.get().status().code(), StatusCode::kCancelled);
  stream->Release();
  stream.reset();
  ASSERT_TRUE(grown->Write(0, bytes_).ok());
  EXPECT_TRUE(grown->WaitComplete({}, Deadline::After(kLong)).ok());
}

TEST_F(WriteStreamTest, CancelBeforeTheWaitEndsItToo) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_))).ok());
  stream->Cancel();
  EXPECT_EQ(Ask(*stream, Stat()).status().code(), StatusCode::kCancelled);
}

TEST_F(WriteStreamTest, ClientThatWritesIsNeverMadeToWait) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_), bytes_.size())).ok());
  ASSERT_TRUE(Ask(*stream, Write(0, std::span<const char>(bytes_).first(10))).ok());
  auto reply = Ask(*stream, Stat());
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->ingest.offset_bytes, 10u);
}

TEST_F(WriteStreamTest, OtherTotalThanWhatWeFetchIsAnOrdinaryIngest) {
  auto grown = Grow(bytes_);
  auto stream = NewStream();
  ASSERT_TRUE(Ask(*stream, Stat(RefOf(bytes_), 5)).ok());
  EXPECT_TRUE(Ask(*stream, Stat()).ok());
}

}  // namespace
}  // namespace hearth::plugin
