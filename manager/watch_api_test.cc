#include "manager/watch_api.h"

#include <gmock/gmock.h>

#include <future>

#include "manager/manager_for_test.h"

namespace hearth::manager {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::chrono::seconds kPatience{20};

class WatchApiTest : public ManagerTest {
 protected:
  WatchApiTest() {
    (void)JoinNode("n1");
    api_->AddTo(router_);
  }

  struct Answer {
    int status = 0;
    std::string tag;
    std::string body;
    std::shared_ptr<net::BodySource> stream;
  };
  using Fields = std::vector<std::pair<std::string, std::string>>;
  std::future<Answer> Begin(const std::string& path, const std::string& query = "",
                            const Fields& fields = {}, std::stop_token gone = {}) {
    net::ServerRequest request;
    request.method = "GET";
    request.path = path;
    request.query = query;
    request.client_gone = std::move(gone);
    request.headers.Add("Authorization", "Bearer " + token_);
    for (const auto& [name, value] : fields) request.headers.Add(name, value);
    auto promise = std::make_shared<std::promise<Answer>>();
    router_.Answer(request, [promise](net::ServerResponse given) {
      Answer answer;
      answer.status = given.status;
      answer.tag = given.headers.Get("ETag");
      if (auto* text = std::get_if<std::string>(&given.body)) answer.body = std::move(*text);
      if (auto* stream = std::get_if<std::shared_ptr<net::BodySource>>(&given.body)) {
        answer.stream = *stream;
      }
      promise->set_value(std::move(answer));
    });
    return promise->get_future();
  }
  Answer Get(const std::string& path, const std::string& query = "", const Fields& fields = {}) {
    return Wait(Begin(path, query, fields));
  }
  template <typename T>
  static T Wait(std::future<T> future) {
    CHECK(future.wait_for(kPatience) == std::future_status::ready);
    return future.get();
  }
  static std::future<net::BodyChunk> BeginNext(net::BodySource& stream) {
    auto promise = std::make_shared<std::promise<net::BodyChunk>>();
    stream.Next([promise](Result<net::BodyChunk> chunk) { promise->set_value(*chunk); });
    return promise->get_future();
  }
  static net::BodyChunk Next(net::BodySource& stream) { return Wait(BeginNext(stream)); }
  static std::string IdOf(const std::string& text) {
    const size_t start = text.rfind("id: ") + 4;
    return text.substr(start, text.find('\n', start) - start);
  }
  static bool StillWaits(const std::future<Answer>& answer) {
    return answer.wait_for(std::chrono::milliseconds(0)) == std::future_status::timeout;
  }

  JobId Create() {
    JobRequest request;
    JobItem& item = request.spec.items.emplace_back();
    item.url = item.reference = "r.example/a:v";
    item.base_url = "https://r.example/v2/a";
    return hub_->Create(request, {}).value();
  }
  std::string Path(JobId id) { return "/oapi/v1/jobs/" + std::to_string(id); }

  JobStore store_{*kv_};
  const std::unique_ptr<Sealer> sealer_ = Sealer::Open(root_ / "secrets.key", true).value();
  const std::unique_ptr<OrderHub> hub_ =
      OrderHub::Open({.fleet = *fleet_, .store = store_, .sealer = *sealer_, .clock = clock_})
          .value();
  const std::unique_ptr<Clusters> clusters_ = Clusters::Open(*kv_, clock_).value();
  std::optional<WatchApi> api_{std::in_place, *hub_, *clusters_, *tokens_};
  const std::unique_ptr<Audit> audit_ = Audit::Open(*kv_, clock_).value();
  Router router_{*tokens_, *audit_, clock_};
  const std::string token_ = tokens_->Create({"t", {Scope::kJobRead}, {}}).value().text.Reveal();
};

TEST_F(WatchApiTest, AStreamTellsHowTheJobStandsThenEachChangeAndItsEnd) {
  const JobId id = Create();
  const Answer answer = Get(Path(id) + "/events");
  EXPECT_EQ(answer.status, 200);
  const auto first = Next(*answer.stream);
  EXPECT_THAT(first.data, StartsWith("retry: "));
  EXPECT_THAT(first.data, HasSubstr("event: job\ndata: {"));
  EXPECT_THAT(first.data, HasSubstr(R"("state":"PENDING")"));
  EXPECT_FALSE(first.last);

  auto second = BeginNext(*answer.stream);
  EXPECT_EQ(hub_->SetBio(id, "changed"), OkStatus());
  EXPECT_THAT(Wait(std::move(second)).data, HasSubstr(R"("bio":"changed")"));

  auto third = BeginNext(*answer.stream);
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  const auto end = Wait(std::move(third));
  EXPECT_THAT(end.data, HasSubstr(R"("state":"FAILURE")"));
  EXPECT_TRUE(end.last);
}

TEST_F(WatchApiTest, ALastEventIdSparesWhatTheClientHas) {
  const JobId id = Create();
  const std::string seen = IdOf(Next(*Get(Path(id) + "/events").stream).data);
  const Answer again = Get(Path(id) + "/events", "", {{"Last-Event-ID", seen}});
  EXPECT_THAT(Next(*again.stream).data, Not(HasSubstr("event:")));
  EXPECT_EQ(hub_->SetBio(id, "x"), OkStatus());
  EXPECT_THAT(Next(*again.stream).data, HasSubstr(R"("bio":"x")"));

  const std::string foreign = JobFeed().NameOf(0);
  const Answer anew = Get(Path(id) + "/events", "", {{"Last-Event-ID", foreign}});
  EXPECT_THAT(Next(*anew.stream).data, HasSubstr("event: job"));
}

TEST_F(WatchApiTest, WhoHasTheEndIsToldNotToComeAgain) {
  const JobId id = Create();
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  const auto end = Next(*Get(Path(id) + "/events").stream);
  EXPECT_TRUE(end.last);
  EXPECT_EQ(Get(Path(id) + "/events", "", {{"Last-Event-ID", IdOf(end.data)}}).status, 204);
}

TEST_F(WatchApiTest, AJobThatIsRemovedEndsItsStream) {
  const JobId id = Create();
  const Answer answer = Get(Path(id) + "/events");
  (void)Next(*answer.stream);
  auto next = BeginNext(*answer.stream);
  EXPECT_EQ(hub_->Remove(id), OkStatus());
  const auto end = Wait(std::move(next));
  EXPECT_THAT(end.data, HasSubstr("event: removed"));
  EXPECT_TRUE(end.last);
  EXPECT_EQ(Get(Path(id) + "/events").status, 404);
  EXPECT_EQ(Get("/api/v1/pull-jobs/none/watch").status, 404);
}

TEST_F(WatchApiTest, AStreamOfAllJobsSaysWhenToReadTheListAndThenWhatChanges) {
  const Answer answer = Get("/api/v1/events");
  const std::string reset = Next(*answer.stream).data;
  EXPECT_THAT(reset, HasSubstr("event: reset"));
  auto next = BeginNext(*answer.stream);
  const JobId id = Create();
  EXPECT_THAT(Wait(std::move(next)).data, HasSubstr("\"id\":" + std::to_string(id)));
  EXPECT_EQ(hub_->Remove(id), OkStatus());
  EXPECT_THAT(Next(*answer.stream).data, HasSubstr("event: removed"));

  const JobId other = Create();
  const Answer again = Get("/api/v1/events", "", {{"Last-Event-ID", IdOf(reset)}});
  const std::string missed = Next(*again.stream).data;
  EXPECT_THAT(missed, Not(HasSubstr("reset")));
  EXPECT_THAT(missed, HasSubstr("event: removed"));
  EXPECT_THAT(missed, HasSubstr("\"id\":" + std::to_string(other)));
}

TEST_F(WatchApiTest, ALongPollWaitsForTheEnd) {
  const JobId id = Create();
  auto answer = Begin(Path(id), "wait=60s");
  const auto stream = Get(Path(id) + "/events").stream;
  // The poll tries as often as the stream does: by the second it has looked at the first.
  for (const char* bio : {"x", "y"}) {
    EXPECT_EQ(hub_->SetBio(id, bio), OkStatus());
    while (Next(*stream).data.find(bio) == std::string::npos) {
    }
  }
  EXPECT_TRUE(StillWaits(answer));
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  EXPECT_THAT(Wait(std::move(answer)).body, HasSubstr(R"("state":"FAILURE")"));
  EXPECT_EQ(Get(Path(id), "wait=60s").status, 200) << "it has ended";
}

TEST_F(WatchApiTest, WhatIsShownAgainIsAsItStands) {
  const JobId id = Create();
  const std::string first = Get(Path(id)).body;
  EXPECT_EQ(Get(Path(id)).body, first);
  EXPECT_EQ(hub_->SetBio(id, "x"), OkStatus());
  EXPECT_THAT(Get(Path(id)).body, HasSubstr(R"("bio":"x")"));
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  EXPECT_THAT(Get(Path(id)).body, HasSubstr(R"("state":"FAILURE")"));
  EXPECT_EQ(hub_->Remove(id), OkStatus());
  EXPECT_EQ(Get(Path(id)).status, 404);
}

TEST_F(WatchApiTest, ALongPollThatNamesWhatItHasWaitsForAnyChange) {
  const JobId id = Create();
  const std::string tag = Get(Path(id)).tag;
  EXPECT_EQ(Get(Path(id), "", {{"If-None-Match", tag}}).status, 304);
  auto answer = Begin(Path(id), "wait=60s", {{"If-None-Match", "W/" + tag}});
  EXPECT_TRUE(StillWaits(answer));
  EXPECT_EQ(hub_->SetBio(id, "x"), OkStatus());
  const Answer changed = Wait(std::move(answer));
  EXPECT_THAT(changed.body, HasSubstr(R"("bio":"x")"));
  EXPECT_NE(changed.tag, tag);
  EXPECT_EQ(Get(Path(id), "wait=1ms", {{"If-None-Match", changed.tag}}).status, 304);
}

TEST_F(WatchApiTest, ALongPollSaysHowItStandsWhenItsTimeIsUp) {
  EXPECT_THAT(Get(Path(Create()), "wait=1ms").body, HasSubstr(R"("state":"PENDING")"));
  EXPECT_EQ(Get(Path(1), "wait=61s").status, 400);
  EXPECT_EQ(Get(Path(1), "wait=soon").status, 400);
  EXPECT_EQ(Get(Path(99), "wait=60s").status, 404);
}

// The manager was restarted: whatever the client knows is old.
TEST_F(WatchApiTest, ALongPollWithATagOfAnotherProcessIsAnsweredAtOnce) {
  const std::string tag = "\"" + JobFeed().NameOf(0) + "\"";
  const Answer answer = Get(Path(Create()), "wait=60s", {{"If-None-Match", tag}});
  EXPECT_THAT(answer.body, HasSubstr(R"("state":"PENDING")"));
}

TEST_F(WatchApiTest, ALongPollEndsWithItsJob) {
  const JobId id = Create();
  auto answer = Begin(Path(id), "wait=60s", {{"If-None-Match", Get(Path(id)).tag}});
  EXPECT_EQ(hub_->Cancel(id), OkStatus());
  auto ended = Wait(std::move(answer));
  answer = Begin(Path(id), "wait=60s", {{"If-None-Match", ended.tag}});
  EXPECT_EQ(hub_->Remove(id), OkStatus());
  EXPECT_EQ(Wait(std::move(answer)).status, 404);
  EXPECT_EQ(Get(Path(id), "wait=60s", {{"If-None-Match", ended.tag}}).status, 404);
}

TEST_F(WatchApiTest, JobsThatNobodyWatchesAreForgotten) {
  for (JobId id = 1'000; id < 1'100; ++id) EXPECT_EQ(Get(Path(id), "wait=60s").status, 404);
  auto stream = Get(Path(Create()) + "/events").stream;
  auto next = BeginNext(*stream);
  stream.reset();  // while it waits
  const Deadline patience = Deadline::After(kPatience);
  while (hub_->feed().watched_jobs() > 0 && !patience.Passed()) std::this_thread::yield();
  EXPECT_EQ(hub_->feed().watched_jobs(), 0u);
}

TEST_F(WatchApiTest, ARevokedTokenEndsItsStreams) {
  const JobId id = Create();
  const Answer answer = Get(Path(id) + "/events");
  (void)Next(*answer.stream);
  EXPECT_EQ(tokens_->Revoke(tokens_->List().at(0).id), OkStatus());
  std::promise<Status> told;
  answer.stream->Next([&](const Result<net::BodyChunk>& chunk) { told.set_value(chunk.status()); });
  EXPECT_EQ(hub_->SetBio(id, "secret"), OkStatus());
  EXPECT_EQ(Wait(told.get_future()).code(), StatusCode::kUnauthenticated);
}

TEST_F(WatchApiTest, AClientThatLeavesFreesItsPlace) {
  const JobId id = Create();
  std::stop_source gone;
  auto answer = Begin(Path(id), "wait=60s", {}, gone.get_token());
  auto stream = Get(Path(id) + "/events").stream;
  EXPECT_EQ(hub_->feed().readers(), 2u);
  gone.request_stop();
  stream.reset();
  const Deadline patience = Deadline::After(kPatience);
  while (hub_->feed().readers() > 0 && !patience.Passed()) std::this_thread::yield();
  EXPECT_EQ(hub_->feed().readers(), 0u);
}

TEST_F(WatchApiTest, TheEndOfTheManagerEndsStreamsAndLongPolls) {
  const JobId id = Create();
  const Answer answer = Get(Path(id) + "/events");
  (void)Next(*answer.stream);
  auto next = BeginNext(*answer.stream);
  auto polled = Begin(Path(id), "wait=60s");
  hub_->feed().End();
  EXPECT_TRUE(Wait(std::move(next)).last);
  EXPECT_EQ(Wait(std::move(polled)).status, 200);
  EXPECT_EQ(Get(Path(id) + "/events").status, 503);
}

TEST_F(WatchApiTest, AStreamOnWhichNothingHappensHasHeartbeats) {
  TimerQueue timers;
  ThreadPool workers({.name = "test", .threads = 1});
  const auto stream = std::make_shared<EventStream>(
      EventStream::Options{.tools = {hub_->feed(), timers, workers},
                           .place = nullptr,
                           .read = [](auto) { return EventStream::Events{}; },
                           .heartbeat = std::chrono::milliseconds(1)});
  EXPECT_THAT(Next(*stream).data, StartsWith("retry: "));
  EXPECT_EQ(Next(*stream).data, ":\n\n");
  timers.Stop();
  workers.Join();
}

// A client that reads one event while a thousand happen gets the latest, not a thousand.
TEST_F(WatchApiTest, ASlowReaderSkipsWhatIsOutdated) {
  const JobId id = Create();
  const Answer answer = Get(Path(id) + "/events");
  (void)Next(*answer.stream);
  for (int i = 1; i <= 1'000; ++i) EXPECT_EQ(hub_->SetBio(id, std::to_string(i)), OkStatus());
  EXPECT_THAT(Next(*answer.stream).data, HasSubstr(R"("bio":"1000")"));
  auto next = BeginNext(*answer.stream);
  EXPECT_EQ(hub_->SetBio(id, "end"), OkStatus());
  EXPECT_THAT(Wait(std::move(next)).data, HasSubstr(R"("bio":"end")"));
}

}  // namespace
}  // namespace hearth::manager
