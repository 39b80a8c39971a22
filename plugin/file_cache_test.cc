#include "plugin/file_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "oci/scripted_server.h"
#include "plugin/file_version.h"
#include "store/faulty.h"
#include "store/store.h"

namespace hearth::plugin {
namespace {

using oci::Reply;
using oci::Request;
using oci::ScriptedServer;
using testing::HasSubstr;
using testing::Not;

class FileCacheTest : public testing::Test {
 protected:
  using Script = std::function<Reply(const Request&, int)>;

  // A server of one file with ETag and ranges, as object stores answer.
  Script Serving(const std::string& content, const std::string& etag) {
    return [content, etag](const Request& request, int) {
      Reply reply;
      reply.headers["ETag"] = etag;
      if (request.Header("If-None-Match") == etag) {
        reply.status = 304;
        return reply;
      }
      const std::string range = request.Header("Range");
      const std::string if_range = request.Header("If-Range");
      if (range.empty() || (!if_range.empty() && if_range != etag)) {
        reply.body = content;
        return reply;
      }
      const size_t first = std::stoul(range.substr(6));
      reply.status = 206;
      reply.body = content.substr(first);
      reply.headers["Content-Range"] = "bytes " + std::to_string(first) + "-" +
                                       std::to_string(content.size() - 1) + "/" +
                                       std::to_string(content.size());
      return reply;
    };
  }
  void Serve(Script script) { server_.emplace(std::move(script)); }
  // Whoever waits for silence to end says how long; the others must not mind a slow machine.
  FileCache CacheWith(std::chrono::milliseconds stall_timeout) {
    return FileCache({.blobs = store_->blobs(),
                      .ingests = store_->ingests(),
                      .kv = store_->kv(),
                      .client = *client_,
                      .max_attempts = 2,
                      .first_backoff = std::chrono::milliseconds(1),
                      .stall_timeout = stall_timeout,
                      .clock = clock_});
  }

  Result<FileResult> Get(const std::string& url, std::optional<Digest> expected = {}) {
    progress_.clear();
    return files_.Get({url, headers_, expected},
                      [this](const FileProgress& progress) { progress_.push_back(progress); }, {});
  }
  std::string Stored(const Digest& digest) {
    auto blob = store_->blobs().Open(digest);
    if (!blob.ok()) return blob.status().ToString();
    std::string content((*blob)->size_bytes(), '\0');
    EXPECT_TRUE(ReadAt((*blob)->file()->get(), content, 0).ok());
    return content;
  }
  int Ingests() {
    int count = 0;
    EXPECT_TRUE(store_->ingests().List([&](const store::IngestInfo&) { return ++count; }).ok());
    return count;
  }

  store::Scratch scratch_;
  ThreadPool pool_{{.name = "cpu"}};
  std::unique_ptr<store::Store> store_ = std::move(
      *store::Store::Open({.root = scratch_.path(), .cpu_pool = pool_, .kv = kv::MakeMemoryKv()}));
  std::unique_ptr<net::HttpClient> client_ = std::move(*net::HttpClient::Create({}));
  FakeClock clock_;
  FileCache files_ = CacheWith(std::chrono::seconds(20));
  net::HttpHeaders headers_;
  std::vector<FileProgress> progress_;
  std::optional<ScriptedServer> server_;
  const std::string content_ = std::string(900'000, 'f') + "ile";
};

TEST_F(FileCacheTest, FetchesAFileHiddenFromContainerd) {
  Serve(Serving(content_, "\"1\""));
  headers_.Add("X-Token", "t");
  const auto file = Get(server_->url() + "/f?Expires=1&Signature=secret");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->digest, Digest::Of(content_));
  EXPECT_EQ(file->size_bytes, content_.size());
  EXPECT_EQ(file->received_bytes, content_.size());
  EXPECT_THAT(file->url, Not(HasSubstr("secret")));
  EXPECT_EQ(file->task_id.size(), 64u);
  EXPECT_EQ(Stored(file->digest), content_);
  const auto info = store_->blobs().Info(file->digest);
  EXPECT_TRUE(info->preheated);
  EXPECT_FALSE(info->claimed);
  EXPECT_EQ(server_->requests()[0].Header("X-Token"), "t");
  EXPECT_EQ(server_->requests()[0].target, "/f?Expires=1&Signature=secret");
  EXPECT_EQ(progress_.back().present_bytes, content_.size());
  EXPECT_EQ(progress_.back().total_bytes, content_.size());
  EXPECT_EQ(Ingests(), 0);
}

TEST_F(FileCacheTest, AFileForWhichThereIsNoRoomIsRefusedBeforeItsFirstByte) {
  Serve(Serving(content_, "\"1\""));
  std::vector<uint64_t> asked;
  FileRequest request{.url = server_->url() + "/f", .headers = {}, .expected = {}};
  request.make_room = [&](uint64_t size_bytes) {
    asked.push_back(size_bytes);
    return ResourceExhausted("over store.quota");
  };
  const auto file = files_.Get(request, nullptr, {});
  EXPECT_EQ(file.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(file.status().message(), HasSubstr("store.quota"));
  EXPECT_EQ(asked, std::vector<uint64_t>{content_.size()});
  EXPECT_EQ(server_->requests().size(), 1u);
  EXPECT_EQ(Ingests(), 0);
  request.make_room = [&](uint64_t /*size_bytes*/) { return OkStatus(); };
  EXPECT_TRUE(files_.Get(request, nullptr, {}).ok());
}

TEST_F(FileCacheTest, AFileOfUnknownSizeForWhichTheRoomEndsLeavesNothing) {
  const std::string large(kRoomStepBytes + 100'000, 'l');
  Serve([&](const Request&, int) {
    Reply reply;
    reply.body = large;
    reply.chunked = true;
    return reply;
  });
  std::vector<uint64_t> asked;
  FileRequest request{.url = server_->url() + "/f", .headers = {}, .expected = {}};
  request.make_room = [&](uint64_t size_bytes) {
    asked.push_back(size_bytes);
    return asked.size() == 1 ? OkStatus() : ResourceExhausted("under store.min_free");
  };
  const auto file = files_.Get(request, nullptr, {});
  EXPECT_EQ(file.status().code(), StatusCode::kResourceExhausted) << file.status();
  EXPECT_EQ(asked, (std::vector<uint64_t>{kRoomStepBytes, kRoomStepBytes}));
  EXPECT_EQ(Ingests(), 0);
}

TEST_F(FileCacheTest, OfAResumedFileOnlyTheRestNeedsRoom) {
  Serve([this](const Request& request, int count) {
    Reply reply = Serving(content_, "\"1\"")(request, count);
    if (count == 1) reply.cut_after = 500'000;
    return reply;
  });
  std::vector<uint64_t> asked;
  FileRequest request{.url = server_->url() + "/f", .headers = {}, .expected = {}};
  request.make_room = [&](uint64_t size_bytes) {
    asked.push_back(size_bytes);
    return OkStatus();
  };
  EXPECT_TRUE(files_.Get(request, nullptr, {}).ok());
  EXPECT_EQ(asked, (std::vector<uint64_t>{content_.size(), content_.size() - 500'000}));
}

TEST_F(FileCacheTest, ASweepForgetsFilesThatWereEvictedAndNoOthers) {
  Serve(Serving(content_, "\"1\""));
  const auto kept = Get(server_->url() + "/kept");
  ASSERT_TRUE(kept.ok()) << kept.status();
  Serve(Serving("other", "\"2\""));
  const auto gone = Get(server_->url() + "/gone");
  ASSERT_TRUE(gone.ok()) << gone.status();
  ASSERT_TRUE(store_->blobs().Remove(gone->digest).ok());
  for (int i = 0; i < 512; ++i) ASSERT_TRUE(files_.Sweep().ok());
  size_t records = 0;
  EXPECT_TRUE(store_->kv()
                  .Scan(kv::Family::kTasks, "",
                        [&](std::string_view key, std::string_view) {
                          EXPECT_NE(key.find(kept->task_id), std::string_view::npos);
                          return ++records;
                        })
                  .ok());
  EXPECT_EQ(records, 2u) << "the file and its name by address";
}

TEST_F(FileCacheTest, ASweepDropsAPartOfAFileThatNobodyWentOnWith) {
  Serve([this](const Request& request, int count) {
    Reply reply = Serving(content_, "\"1\"")(request, count);
    reply.cut_after = 100'000;  // too little to be progress
    return reply;
  });
  EXPECT_FALSE(Get(server_->url() + "/f").ok());
  ASSERT_EQ(Ingests(), 1);
  clock_.JumpWall(std::chrono::system_clock::now() - clock_.WallNow());
  clock_.Advance(kKeepPartialFile - std::chrono::hours(1));
  for (int i = 0; i < 512; ++i) ASSERT_TRUE(files_.Sweep().ok());
  EXPECT_EQ(Ingests(), 1);
  clock_.Advance(std::chrono::hours(2));
  for (int i = 0; i < 512; ++i) ASSERT_TRUE(files_.Sweep().ok());
  EXPECT_EQ(Ingests(), 0);
  EXPECT_TRUE(store_->kv()
                  .Scan(kv::Family::kTasks, "",
                        [](std::string_view, std::string_view) {
                          ADD_FAILURE() << "a record without a file";
                          return true;
                        })
                  .ok());
}

TEST_F(FileCacheTest, SecondGetOnlyAsksWithTheCallersOwnUrl) {
  Serve(Serving(content_, "\"1\""));
  const auto first = Get(server_->url() + "/f?Signature=a");
  const auto second = Get(server_->url() + "/f?Signature=b");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->task_id, first->task_id);
  EXPECT_EQ(second->digest, first->digest);
  EXPECT_EQ(second->received_bytes, 0u);
  ASSERT_EQ(server_->requests().size(), 2u);
  EXPECT_EQ(server_->requests()[1].target, "/f?Signature=b");
  EXPECT_EQ(server_->requests()[1].Header("If-None-Match"), "\"1\"");
}

TEST_F(FileCacheTest, SameVersionInAWholeAnswerIsNotFetchedAgain) {
  Serve([this](const Request&, int) {
    Reply reply;
    reply.headers["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT";
    reply.body = content_;
    return reply;
  });
  ASSERT_TRUE(Get(server_->url() + "/f").ok());
  const auto second = Get(server_->url() + "/f");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->received_bytes, 0u);
}

TEST_F(FileCacheTest, NewVersionReplacesTheOld) {
  std::string content = "old";
  std::string etag = "\"1\"";
  Serve([&](const Request& request, int count) { return Serving(content, etag)(request, count); });
  ASSERT_TRUE(Get(server_->url() + "/f").ok());
  content = "newer";
  etag = "\"2\"";
  for (int i = 0; i < 2; ++i) {
    const auto file = Get(server_->url() + "/f");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->digest, Digest::Of("newer"));
    EXPECT_EQ(file->received_bytes, i == 0 ? 5u : 0u);
  }
}

TEST_F(FileCacheTest, RefusalIsPassedOnThoughTheFileIsHere) {
  bool refuse = false;
  Serve([&](const Request& request, int count) {
    if (!refuse) return Serving(content_, "\"1\"")(request, count);
    Reply reply;
    reply.status = 403;
    return reply;
  });
  ASSERT_TRUE(Get(server_->url() + "/f?Signature=good").ok());
  refuse = true;
  const auto file = Get(server_->url() + "/f?Signature=forged");
  EXPECT_EQ(file.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(file.status().message(), Not(HasSubstr("forged")));
}

TEST_F(FileCacheTest, OriginDownGivesTheStoredFileUnchecked) {
  Serve(Serving(content_, "\"1\""));
  const std::string url = server_->url() + "/f";
  ASSERT_TRUE(Get(url).ok());
  server_.reset();
  const auto file = Get(url);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->unchecked);
  EXPECT_EQ(file->digest, Digest::Of(content_));
  EXPECT_EQ(Get(url + "/other").status().code(), StatusCode::kUnavailable);
}

TEST_F(FileCacheTest, ARegistrysBlobIsKnownByItsDigestWhateverItsUrl) {
  const Digest digest = Digest::Of(content_);
  auto grown = store_->blobs().Grow(digest, content_.size());
  ASSERT_TRUE(grown.ok() && grown->blob->Write(0, content_).ok());
  ASSERT_TRUE(grown->blob->WaitComplete({}).ok());
  int status = 206;
  size_t size = content_.size();
  Serve([&](const Request& /*request*/, int /*count*/) {
    Reply reply;
    reply.status = status;
    reply.body = "f";
    reply.headers["ETag"] = "\"of this registry's own\"";
    reply.headers["Content-Range"] = "bytes 0-0/" + std::to_string(size);
    return reply;
  });
  const std::string url = server_->url() + "/v2/lab/app/blobs/" + digest.ToString();
  for (const char* query : {"", "?ns=docker.io", "?ns=other&Expires=5"}) {
    const auto offer = files_.Offer({.url = url + query, .headers = {}, .expected = {}}, "GET", 0,
                                    /*only_stored=*/true, {});
    ASSERT_TRUE(offer.ok()) << offer.status();
    EXPECT_EQ(offer->kind, FileOffer::Kind::kStored) << query;
    EXPECT_EQ(offer->task_id, digest.hex());
  }
  size = 1;
  const auto impostor =
      files_.Offer({.url = url, .headers = {}, .expected = {}}, "GET", 0, true, {});
  ASSERT_TRUE(impostor.ok());
  EXPECT_EQ(impostor->kind, FileOffer::Kind::kPass) << "it has something else under that name";
  status = 401;
  const FileRequest request{.url = url, .headers = {}, .expected = {}};
  auto offer = files_.Offer(request, "GET", 0, true, {});
  ASSERT_TRUE(offer.ok()) << offer.status();
  EXPECT_EQ(offer->kind, FileOffer::Kind::kRefused) << "the registry says who may have it";
  status = 503;
  offer = files_.Offer(request, "GET", 0, true, {});
  EXPECT_TRUE(!offer.ok() || offer->kind != FileOffer::Kind::kStored) << "nobody granted it";
  const std::string other = server_->url() + "/v2/lab/app/blobs/" + Digest::Of("x").ToString();
  status = 206;
  offer = files_.Offer({.url = other, .headers = {}, .expected = {}}, "GET", 0, true, {});
  ASSERT_TRUE(offer.ok());
  EXPECT_EQ(offer->kind, FileOffer::Kind::kPass);
}

TEST_F(FileCacheTest, CutBodyIsResumedWithTheVersionItBeganWith) {
  Serve([this](const Request& request, int count) {
    Reply reply = Serving(content_, "\"1\"")(request, count);
    if (count == 1) reply.cut_after = 500'000;
    return reply;
  });
  const auto file = Get(server_->url() + "/f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Stored(file->digest), content_);
  EXPECT_EQ(file->received_bytes, content_.size());
  ASSERT_EQ(server_->requests().size(), 2u);
  EXPECT_EQ(server_->requests()[1].Header("Range"), "bytes=500000-");
  EXPECT_EQ(server_->requests()[1].Header("If-Range"), "\"1\"");
}

TEST_F(FileCacheTest, BodyThatFellSilentIsResumedOnAnotherConnection) {
  auto serve = Serving(content_, "\"1\"");
  Serve([serve](const Request& request, int count) {
    Reply reply = serve(request, count);
    if (count == 1) {
      reply.cut_after = 300'000;
      reply.hangs = true;
    }
    return reply;
  });
  FileCache files = CacheWith(std::chrono::seconds(2));
  const auto file = files.Get({server_->url() + "/f", headers_, {}}, nullptr, {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Stored(file->digest), content_);
  ASSERT_EQ(server_->requests().size(), 2u);
  EXPECT_EQ(server_->requests()[1].Header("Range"), "bytes=300000-");
}

TEST_F(FileCacheTest, SilentOriginIsWaitedForOnce) {
  Serve([](const Request&, int) {
    Reply reply;
    reply.silent = true;
    return reply;
  });
  FileCache files = CacheWith(std::chrono::milliseconds(500));
  EXPECT_EQ(files.Get({server_->url() + "/f", headers_, {}}, nullptr, {}).status().code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(FileCacheTest, NextGetResumesWhatAFailedOneLeft) {
  bool broken = true;
  Serve([&](const Request& request, int count) {
    Reply reply = Serving(content_, "\"1\"")(request, count);
    if (broken && count > 1) {
      reply.status = 500;
      reply.body.clear();
    } else if (broken) {
      reply.cut_after = 500'000;
    }
    return reply;
  });
  EXPECT_EQ(Get(server_->url() + "/f").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Ingests(), 1);
  EXPECT_TRUE(store_->ingests()
                  .List([](const store::IngestInfo& ingest) {
                    EXPECT_TRUE(IsFileIngest(ingest.ref)) << ingest.ref;
                    return true;
                  })
                  .ok());
  broken = false;
  const auto file = Get(server_->url() + "/f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->received_bytes, content_.size() - 500'000);
  EXPECT_EQ(progress_.front().present_bytes, 500'000u);
  EXPECT_EQ(Stored(file->digest), content_);
}

TEST_F(FileCacheTest, ServerThatGivesAFewBytesAtATimeIsGivenUp) {
  Serve([whole = Serving(content_, "\"1\"")](const Request& request, int count) {
    Reply reply = whole(request, count);
    reply.cut_after = 1000;
    return reply;
  });
  const auto file = Get(server_->url() + "/f");
  EXPECT_EQ(file.status().code(), StatusCode::kUnavailable) << file.status();
  EXPECT_EQ(server_->requests().size(), 2u);
}

TEST_F(FileCacheTest, PartsOfTwoVersionsAreNeverJoined) {
  const std::string newer(content_.size(), 'n');
  for (const bool honest : {true, false}) {
    Serve([&](const Request& request, int count) {
      if (count == 1) {
        Reply reply = Serving(content_, "\"1\"")(request, count);
        reply.cut_after = 500'000;
        return reply;
      }
      Request asked = request;
      const size_t if_range = asked.head.find("\r\nIf-Range");
      // A server that ignores If-Range and sends the newer file's part.
      if (!honest && if_range != std::string::npos) {
        asked.head.replace(if_range, 10, "\r\nX-Ignore");
      }
      return Serving(newer, "\"2\"")(asked, count);
    });
    const auto file = Get(server_->url() + "/f");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(Stored(file->digest), newer);
  }
}

TEST_F(FileCacheTest, ExpectedDigestNeedsNoSecondRequest) {
  Serve(Serving(content_, "\"1\""));
  for (int i = 0; i < 2; ++i) {
    const auto file = Get(server_->url() + "/f", Digest::Of(content_));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->size_bytes, content_.size());
  }
  EXPECT_EQ(server_->requests().size(), 1u);
}

TEST_F(FileCacheTest, WrongDigestIsSaidAndNothingKept) {
  Serve(Serving(content_, "\"1\""));
  const auto file = Get(server_->url() + "/f", Digest::Of("something else"));
  EXPECT_EQ(file.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(file.status().message(), HasSubstr(Digest::Of(content_).ToString()));
  EXPECT_EQ(Ingests(), 0);
  EXPECT_FALSE(store_->blobs().Info(Digest::Of(content_)).ok());
}

TEST_F(FileCacheTest, ClaimOfContainerdSurvives) {
  auto ingest = store_->ingests().Open("k8s.io/1/layer", 0, Deadline::Never());
  ASSERT_TRUE((*ingest)->Append(content_).ok());
  ASSERT_TRUE((*ingest)->Commit(0, std::nullopt, {}).ok());
  Serve(Serving(content_, "\"1\""));
  ASSERT_TRUE(Get(server_->url() + "/f").ok());
  EXPECT_TRUE(store_->blobs().Info(Digest::Of(content_))->claimed);
}

TEST_F(FileCacheTest, BadUrlsAndAnswers) {
  for (const char* url : {"", "ftp://h/f", "file:///etc/passwd", "/f", "httpx://h"}) {
    EXPECT_EQ(Get(url).status().code(), StatusCode::kInvalidArgument) << url;
  }
  int status = 0;
  Serve([&](const Request&, int) {
    Reply reply;
    reply.status = status;
    return reply;
  });
  for (const auto& [http, code] : {std::pair{404, StatusCode::kNotFound},
                                   {401, StatusCode::kUnauthenticated},
                                   {403, StatusCode::kPermissionDenied},
                                   {503, StatusCode::kUnavailable},
                                   {429, StatusCode::kUnavailable}}) {
    status = http;
    EXPECT_EQ(Get(server_->url() + "/f").status().code(), code) << http;
  }
}

TEST_F(FileCacheTest, StopLeavesThePartForTheNextCall) {
  std::stop_source stop;
  Serve([this](const Request& request, int count) {
    Reply reply = Serving(content_, "\"1\"")(request, count);
    reply.content_length = std::to_string(content_.size());
    if (count == 1) reply.cut_after = 400'000;
    return reply;
  });
  const auto file = files_.Get(
      {server_->url() + "/f", {}, {}},
      [&](const FileProgress& progress) {
        if (progress.present_bytes > 0) stop.request_stop();
      },
      stop.get_token());
  EXPECT_EQ(file.status().code(), StatusCode::kCancelled) << file.status();
  EXPECT_EQ(Ingests(), 1);
}

}  // namespace
}  // namespace hearth::plugin
