#include "store/ingest_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "store/faulty.h"

namespace hearth::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;

Deadline Now() { return Deadline::After(milliseconds(1)); }
Deadline Soon() { return Deadline::After(seconds(20)); }

class IngestStoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    ingests_.reset();
    blobs_.reset();
    blobs_ = BlobStore::Open({.root = scratch_.path(),
                              .kv = faulty_kv_,
                              .cpu_pool = pool_,
                              .clock = clock_,
                              .disk = disk_})
                 .value();
    auto opened = IngestStore::Open({.root = scratch_.path(),
                                     .kv = faulty_kv_,
                                     .blobs = *blobs_,
                                     .clock = clock_,
                                     .disk = disk_});
    ASSERT_TRUE(opened.ok()) << opened.status();
    ingests_ = std::move(*opened);
  }
  std::unique_ptr<Ingest> Open(const std::string& ref, uint64_t total = 0) {
    auto opened = ingests_->Open(ref, total, Soon());
    EXPECT_TRUE(opened.ok()) << opened.status();
    return std::move(*opened);
  }
  std::vector<std::filesystem::path> Files() {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.path() / "ingest")) {
      files.push_back(entry.path());
    }
    return files;
  }

  Scratch scratch_;
  FakeClock clock_;
  Fault fault_;
  FaultyDisk disk_{fault_};
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FaultyKv faulty_kv_{*kv_, fault_};
  ThreadPool pool_{{.name = "cpu", .threads = 1}};
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<IngestStore> ingests_;
};

TEST_F(IngestStoreTest, CommitMakesAClaimedBlob) {
  auto ingest = Open("k8s.io/1/layer-sha256:ab c", 11);
  EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of(""));
  const auto started = clock_.WallNow();
  clock_.Advance(seconds(1));
  ASSERT_TRUE(ingest->Append(std::string_view("hello ")).ok());
  EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of("hello "));
  ASSERT_TRUE(ingest->Append(std::string_view("world")).ok());
  EXPECT_EQ(ingest->Info().offset_bytes, 11u);
  EXPECT_EQ(ingest->Info().started, started);
  EXPECT_EQ(ingest->Info().updated, started + seconds(1));
  const auto info = ingest->Commit(11, Digest::Of("hello world"), {{"gc", "root"}});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_TRUE(info->claimed);
  EXPECT_EQ(info->labels.at("gc"), "root");
  EXPECT_EQ(blobs_->Info(Digest::Of("hello world"))->size_bytes, 11u);
  EXPECT_EQ(ingests_->Info("k8s.io/1/layer-sha256:ab c").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ingest->Append(std::string_view("x")).code(), StatusCode::kNotFound);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(IngestStoreTest, ResumesInTheSameProcessAndAfterARestart) {
  auto ingest = Open("ref", 100);
  ingest->SetExpected("sha256:xyz");
  ASSERT_TRUE(ingest->Append(std::string_view("12345")).ok());
  const IngestInfo before = ingest->Info();
  ingest.reset();
  for (const bool restart : {false, true}) {
    if (restart) Reopen();
    const auto at_rest = ingests_->Info("ref");
    ASSERT_TRUE(at_rest.ok());
    ingest = Open("ref");
    for (const IngestInfo& info : {*at_rest, ingest->Info()}) {
      EXPECT_EQ(info.offset_bytes, 5u);
      EXPECT_EQ(info.total_bytes, 100u);
      EXPECT_EQ(info.expected, "sha256:xyz");
      EXPECT_EQ(info.started, before.started);
      EXPECT_EQ(info.updated, before.updated);
    }
    EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of("12345"));
    ingest.reset();
  }
}

TEST_F(IngestStoreTest, AnotherTotalStartsAnew) {
  ASSERT_TRUE(Open("ref", 100)->Append(std::string_view("12345")).ok());
  EXPECT_EQ(Open("ref", 100)->Info().offset_bytes, 5u);
  EXPECT_EQ(Open("ref", 99)->Info().offset_bytes, 0u);
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(IngestStoreTest, AfterAnotherBootOnlySyncedBytesCount) {
  auto ingest = Open("ref", 8);
  ASSERT_TRUE(ingest->Append(std::string_view("12345678")).ok());  // reaches the total: synced
  ASSERT_TRUE(ingest->Append(std::string_view("9")).ok());
  ingest.reset();
  auto loose = Open("loose");
  ASSERT_TRUE(loose->Append(std::string_view("never synced")).ok());
  loose.reset();
  for (const std::string ref : {"ref", "loose"}) {
    std::string record = *kv_->Get(kv::Family::kIngests, ref);
    const auto at = record.find(BootId());
    ASSERT_NE(at, std::string::npos);
    record[at] = record[at] == 'f' ? 'e' : 'f';
    ASSERT_TRUE(kv_->Put(kv::Family::kIngests, ref, record, kv::Sync::kNo).ok());
  }
  // The ninth byte was beyond the total and is synced too by its own write.
  Reopen();
  EXPECT_EQ(ingests_->Info("loose")->offset_bytes, 0u);
  ingest = Open("ref");
  EXPECT_EQ(ingest->Info().offset_bytes, 9u);
  EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of("123456789"));
}

TEST_F(IngestStoreTest, TruncateStartsOver) {
  auto ingest = Open("ref");
  ASSERT_TRUE(ingest->Append(std::string_view("wrong")).ok());
  ASSERT_TRUE(ingest->Truncate().ok());
  EXPECT_EQ(ingest->Info().offset_bytes, 0u);
  EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of(""));
  ASSERT_TRUE(ingest->Append(std::string_view("right")).ok());
  EXPECT_EQ(Files().size(), 1u);
  ingest.reset();
  EXPECT_TRUE(Open("ref")->Commit(0, Digest::Of("right"), {}).ok());
}

TEST_F(IngestStoreTest, ABusyRefIsUnavailableAndFreedOnClose) {
  auto ingest = Open("ref");
  const auto busy = ingests_->Open("ref", 0, Now());
  EXPECT_EQ(busy.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(busy.status().message(), HasSubstr("locked"));
  EXPECT_TRUE(ingests_->Open("other", 0, Now()).ok());
  auto waiting =
      std::async(std::launch::async, [&] { return ingests_->Open("ref", 0, Soon()).ok(); });
  ingest.reset();
  EXPECT_TRUE(waiting.get());
}

TEST_F(IngestStoreTest, BadRefsAreRefused) {
  EXPECT_EQ(ingests_->Open("", 0, Now()).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ingests_->Open(std::string(20'000, 'x'), 0, Now()).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(IngestStoreTest, AFailedCommitKeepsTheIngest) {
  {
    auto ingest = Open("ref");
    ASSERT_TRUE(ingest->Append(std::string_view("bytes")).ok());
    EXPECT_EQ(ingest->Commit(6, {}, {}).status().code(), StatusCode::kFailedPrecondition);
    const auto wrong = ingest->Commit(5, Digest::Of("other"), {});
    EXPECT_EQ(wrong.status().code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(wrong.status().message(), HasSubstr(Digest::Of("bytes").ToString()));
  }
  auto ingest = Open("ref");
  EXPECT_EQ(ingest->Info().offset_bytes, 5u);
  EXPECT_TRUE(ingest->Commit(5, {}, {}).ok());
}

TEST_F(IngestStoreTest, ABlobThatIsThereEndsTheIngestAndIsClaimed) {
  ASSERT_TRUE(blobs_->Grow(Digest::Of("bytes"), 5)->blob->Write(0, std::string_view("bytes")).ok());
  ASSERT_TRUE((*blobs_->Grow(Digest::Of("bytes"), 5)).blob->WaitComplete({}, Soon()).ok());
  auto ingest = Open("ref");
  ASSERT_TRUE(ingest->Append(std::string_view("bytes")).ok());
  EXPECT_EQ(ingest->Commit(5, Digest::Of("bytes"), {}).status().code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(blobs_->Info(Digest::Of("bytes"))->claimed);
  EXPECT_EQ(ingests_->Info("ref").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(Open("ref")->Info().offset_bytes, 0u) << "the ref is free while its old holder lives";
}

TEST_F(IngestStoreTest, AbortWhileOpen) {
  EXPECT_TRUE(ingests_->Abort("absent").ok());
  auto ingest = Open("ref");
  ASSERT_TRUE(ingest->Append(std::string_view("bytes")).ok());
  ASSERT_TRUE(ingests_->Abort("ref").ok());
  EXPECT_EQ(ingest->Append(std::string_view("more")).code(), StatusCode::kNotFound);
  EXPECT_EQ(ingest->CurrentDigest().status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ingest->Commit(0, {}, {}).status().code(), StatusCode::kNotFound);
  auto next = Open("ref");
  EXPECT_EQ(next->Info().offset_bytes, 0u);
  ingest.reset();
  EXPECT_EQ(ingests_->Open("ref", 0, Now()).status().code(), StatusCode::kUnavailable)
      << "the aborted holder frees nothing that is not its own";
  ASSERT_TRUE(next->Abandon().ok());
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(IngestStoreTest, ListShowsOpenAndResting) {
  auto open = Open("a");
  ASSERT_TRUE(open->Append(std::string_view("1")).ok());
  ASSERT_TRUE(Open("b")->Append(std::string_view("22")).ok());
  std::string seen;
  ASSERT_TRUE(ingests_
                  ->List([&](const IngestInfo& info) {
                    seen += info.ref + std::to_string(info.offset_bytes) + " ";
                    return true;
                  })
                  .ok());
  EXPECT_EQ(seen, "a1 b2 ");
}

TEST_F(IngestStoreTest, AFullDiskLeavesTheOffset) {
  auto ingest = Open("ref");
  ASSERT_TRUE(ingest->Append(std::string_view("12345")).ok());
  fault_.FailAt(1, false);
  EXPECT_EQ(ingest->Append(std::string_view("678")).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ingest->Info().offset_bytes, 5u);
  ASSERT_TRUE(ingest->Append(std::string_view("678")).ok());
  EXPECT_TRUE(ingest->Commit(8, Digest::Of("12345678"), {}).ok());
}

TEST_F(IngestStoreTest, ABlobTakenFromAnIngestFeedsThoseWhoWait) {
  auto grown = blobs_->Grow(Digest::Of("bytes"), 5);
  auto ingest = Open("ref");
  ASSERT_TRUE(ingest->Append(std::string_view("bytes")).ok());
  ASSERT_TRUE(ingest->Commit(5, Digest::Of("bytes"), {}).ok());
  EXPECT_EQ(grown->blob->state(), Blob::State::kComplete);
}

TEST_F(IngestStoreTest, OpenSweeps) {
  ASSERT_TRUE(Open("good")->Append(std::string_view("1")).ok());
  ASSERT_TRUE(Open("lost")->Append(std::string_view("2")).ok());
  ASSERT_TRUE(Open("adopted")->Append(std::string_view("3")).ok());
  const auto files = Files();
  for (const auto& file : files) {
    std::string content;
    std::ifstream(file) >> content;
    if (content == "2") std::filesystem::remove(file);
    // As after a crash between a blob's commit and the end of its ingest.
    if (content == "3") std::filesystem::create_hard_link(file, scratch_.path() / "the blob");
  }
  std::ofstream(scratch_.path() / "ingest/12345") << "orphan";
  ASSERT_TRUE(kv_->Put(kv::Family::kIngests, "bad", "\xff\xff", kv::Sync::kNo).ok());
  Reopen();
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_EQ(ingests_->Info("good")->offset_bytes, 1u);
  for (const std::string ref : {"lost", "adopted", "bad"}) {
    EXPECT_EQ(ingests_->Info(ref).status().code(), StatusCode::kNotFound) << ref;
  }
}

TEST_F(IngestStoreTest, FaultLoop) {
  bool done = false;
  for (int n = 1; !done; ++n) {
    ASSERT_LT(n, 100);
    const std::string bytes = "some bytes, try " + std::to_string(n);
    fault_.FailAt(n, n % 2 == 0);
    const auto work = [&]() -> Status {
      auto ingest = TRY(ingests_->Open("ref", bytes.size(), Soon()));
      TRY_STATUS(ingest->Append(std::string_view(bytes).substr(0, 3)));
      TRY_STATUS(ingest->Truncate());
      TRY_STATUS(ingest->Append(std::string_view(bytes).substr(0, 5)));
      TRY_STATUS(ingest->Append(std::string_view(bytes).substr(5)));
      return ingest->Commit(bytes.size(), Digest::Of(bytes), {}).status();
    };
    const Status status = work();
    done = !fault_.hit();
    EXPECT_TRUE(!done || status.ok()) << status;
    fault_.Disarm();
    for (const bool restart : {false, true}) {
      if (restart) Reopen();
      auto ingest = Open("ref");
      const uint64_t offset = ingest->Info().offset_bytes;
      ASSERT_LE(offset, bytes.size());
      EXPECT_EQ(*ingest->CurrentDigest(), Digest::Of(bytes.substr(0, offset))) << "n = " << n;
      if (!restart) continue;
      ASSERT_TRUE(ingest->Append(std::string_view(bytes).substr(offset)).ok());
      const auto code = ingest->Commit(0, Digest::Of(bytes), {}).status().code();
      EXPECT_TRUE(code == StatusCode::kOk || code == StatusCode::kAlreadyExists) << "n = " << n;
    }
    ASSERT_TRUE(blobs_->Verify(false, [](const std::string& p) { ADD_FAILURE() << p; }, {}).ok());
    EXPECT_THAT(Files(), IsEmpty()) << "n = " << n;
  }
}

}  // namespace
}  // namespace hearth::store
