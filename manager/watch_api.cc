#include "manager/watch_api.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/ascii.h"
#include "base/units.h"
#include "manager/job_api.h"
#include "manager/job_json.h"
#include "manager/pull_job_json.h"
#include "net/http.h"

namespace hearth::manager {

namespace {

constexpr size_t kWorkers = 2;
// Of one chunk of a stream of all jobs.
constexpr size_t kMaxEventsAtOnce = 64;
constexpr size_t kMaxTextAtOnce = 256 << 10;

ApiAnswer StreamAnswer(std::shared_ptr<EventStream> stream) {
  ApiAnswer answer;
  answer.content_type = "text/event-stream";
  answer.headers.Add("X-Accel-Buffering", "no");  // proxies pass each event on at once
  answer.stream = std::move(stream);
  return answer;
}

// "30s"; none = does not wait.
Result<std::chrono::milliseconds> WaitOf(const ApiCall& call) {
  const std::string text = net::QueryValue(call.request.query, "wait");
  if (text.empty()) return std::chrono::milliseconds(0);
  const auto wait = TRY(ParseDuration(text).Annotate("wait"));
  if (wait > WatchApi::kLongestWait) return InvalidArgument("wait: must be at most 60s");
  return std::chrono::duration_cast<std::chrono::milliseconds>(wait);
}

// The name in an If-None-Match of one entity tag, strong or weak.
std::string_view TagOf(std::string_view field) {
  field = TrimBlanks(field);
  if (field.starts_with("W/")) field.remove_prefix(2);
  if (field.size() < 2 || field.front() != '"' || field.back() != '"') return {};
  return field.substr(1, field.size() - 2);
}

}  // namespace

WatchApi::WatchApi(OrderHub& orders, Clusters& clusters, const Tokens& tokens)
    : orders_(orders),
      clusters_(clusters),
      tokens_(tokens),
      workers_({.name = "events", .threads = kWorkers, .queue_limit = JobFeed::kMaxReaders}) {}

WatchApi::~WatchApi() {
  timers_.Stop();
  workers_.Join();
}

void WatchApi::AddTo(Router& router) {
  router.Add(
      "GET", "/oapi/v1/jobs/{id}", Scope::kJobRead,
      [this](const ApiCall& call, Router::Respond respond) { Show(call, std::move(respond)); });
  router.Add("GET", "/oapi/v1/jobs/{id}/events", Scope::kJobRead,
             [this](const ApiCall& call) { return WatchJob(call); });
  router.Add("GET", "/api/v1/events", Scope::kJobRead,
             [this](const ApiCall& call) { return WatchAll(call); });
  router.Add("GET", "/api/v1/pull-jobs/{name}/watch", Scope::kJobRead,
             [this](const ApiCall& call) { return WatchPullJob(call); });
}

// --- GET of a job ---

void WatchApi::Show(const ApiCall& call, Router::Respond respond) {
  const auto id = JobIdOf(call);
  const auto wait = WaitOf(call);
  if (!id.ok()) return respond(id.status());
  if (!wait.ok()) return respond(wait.status());
  const std::string_view tag = TagOf(call.request.headers.Get("If-None-Match"));
  const bool any_change = !tag.empty();  // else its end
  const auto known = orders_.feed().Parse(tag);

  // The revision is read before the job: a newer job under an older tag is asked for once more,
  // the reverse would hide a change.
  const auto attempt = [this, id = *id, any_change, known, respond](bool last) {
    const auto state = orders_.StateOf(id);
    const Revision revision = orders_.feed().Of(id);
    ApiAnswer answer;
    answer.headers.Add("ETag", "\"" + orders_.feed().NameOf(revision) + "\"");
    const bool same = known && revision <= *known;
    if (!state.ok()) {
      respond(state.status());
      return true;
    }
    if (!last && (any_change ? same : *state == JobState::kPending)) return false;
    if (same) {
      answer.status = 304;
      respond(std::move(answer));
      return true;
    }
    auto shown = Render(id, revision);
    if (shown.ok()) answer.body = *std::move(shown);
    respond(shown.ok() ? Result<ApiAnswer>(std::move(answer)) : shown.status());
    return true;
  };
  if (wait->count() == 0) return void(attempt(true));
  auto place = orders_.feed().Enter();
  if (!place.ok()) return respond(place.status());
  const auto now = std::chrono::steady_clock::now();
  ChangeWait::Start({.tools = tools(),
                     .job = *id,
                     .not_before = any_change ? now + ChangeWait::kMinPause : now,
                     .until = now + *wait,
                     .attempt = [attempt, place = *place](bool last) { return attempt(last); },
                     .gone = call.request.client_gone});
}

// As it is at `revision`, which was read before, or later.
Result<std::string> WatchApi::Render(JobId id, Revision revision) const {
  const auto clusters = clusters_.List();
  auto version = ShownJobs::VersionOf(revision, clusters);
  if (auto known = shown_.Find(id, version)) return *std::move(known);
  std::string text;
  TRY_STATUS(orders_.Read(id, [&](const Job& job) { text = JobJson(job, clusters); }));
  shown_.Keep(id, std::move(version), text);
  return text;
}

// --- streams ---

std::optional<JobFeed::Revision> WatchApi::LastEventOf(const ApiCall& call) const {
  return orders_.feed().Parse(call.request.headers.Get("Last-Event-ID"));
}

std::function<bool()> WatchApi::AllowedTo(const ApiCall& call) const {
  return [this, token = call.token] { return tokens_.StillValid(token); };
}

Result<ApiAnswer> WatchApi::WatchJob(const ApiCall& call) {
  OneJob job{.id = TRY(JobIdOf(call)), .event = "job", .show = [this](JobId id, Revision revision) {
               return Render(id, revision);
             }};
  return StreamOf(std::move(job), call);
}

Result<ApiAnswer> WatchApi::WatchPullJob(const ApiCall& call) {
  OneJob job{.id = TRY(orders_.FindByName(call.parameters.at("name"))),
             .event = "pull-job",
             .show = [this](JobId id, Revision) -> Result<std::string> {
               std::string text;
               TRY_STATUS(orders_.Read(id, [&](const Job& found) { text = PullJobJson(found); }));
               return text;
             }};
  return StreamOf(std::move(job), call);
}

Result<ApiAnswer> WatchApi::StreamOf(OneJob job, const ApiCall& call) {
  const auto after = LastEventOf(call);
  const Revision revision = orders_.feed().Of(job.id);
  const bool ended = TRY(orders_.StateOf(job.id)) != JobState::kPending;
  // A browser comes again after the end of a stream, unless it hears this.
  if (ended && after && revision <= *after) return ApiAnswer{204, ""};
  EventStream::Options options{.tools = tools(),
                               .place = TRY(orders_.feed().Enter()),
                               .job = job.id,
                               .after = after,
                               .read = nullptr,
                               .allowed = AllowedTo(call)};
  options.read = [this, job = std::move(job)](std::optional<Revision> seen) {
    return EventsOf(job, seen);
  };
  return StreamAnswer(std::make_shared<EventStream>(std::move(options)));
}

Result<EventStream::Events> WatchApi::EventsOf(const OneJob& job,
                                               std::optional<Revision> after) const {
  EventStream::Events events;
  // The state before the revision, and that before the text: what is the last event has the end.
  const auto state = orders_.StateOf(job.id);
  events.upto = orders_.feed().Of(job.id);
  const std::string id = orders_.feed().NameOf(events.upto);
  Result<std::string> shown = state.ok() ? Result<std::string>("") : state.status();
  if (state.ok() && (!after || *after < events.upto)) shown = job.show(job.id, events.upto);
  if (shown.status().code() == StatusCode::kNotFound) {
    events.last = true;
    events.text = EventText(id, "removed", nlohmann::json{{"id", job.id}}.dump());
    return events;
  }
  TRY_STATUS(shown.status());
  events.last = *state != JobState::kPending;
  if (!shown->empty()) events.text = EventText(id, job.event, *shown);
  return events;
}

Result<ApiAnswer> WatchApi::WatchAll(const ApiCall& call) {
  EventStream::Options options{
      .tools = tools(),
      .place = TRY(orders_.feed().Enter()),
      .after = LastEventOf(call),
      .read = [this](std::optional<Revision> after) { return AllEvents(after); },
      .allowed = AllowedTo(call)};
  return StreamAnswer(std::make_shared<EventStream>(std::move(options)));
}

Result<EventStream::Events> WatchApi::AllEvents(std::optional<Revision> after) const {
  const JobFeed& feed = orders_.feed();
  EventStream::Events events;
  events.upto = after ? *after : feed.Last();
  const auto changes =
      after ? feed.After(*after, kMaxEventsAtOnce) : JobFeed::Changes{.list = {}, .lost = true};
  if (changes.lost) {
    // What the client knows may be of jobs that are gone: it reads the list, which is as new.
    events.upto = feed.Last();
    events.text = EventText(feed.NameOf(events.upto), "reset", "{}");
    return events;
  }
  const auto clusters = clusters_.List();
  for (const JobFeed::Change& change : changes.list) {
    if (events.text.size() >= kMaxTextAtOnce) break;
    const std::string id = feed.NameOf(change.revision);
    if (change.removed) {
      events.upto = change.revision;
      events.text += EventText(id, "removed", nlohmann::json{{"id", change.job}}.dump());
      continue;
    }
    std::string shown;
    // Where it was removed since, a later change says so.
    const Status read =
        orders_.Read(change.job, [&](const Job& job) { shown = JobHeadJson(job, clusters); });
    if (!read.ok() && read.code() != StatusCode::kNotFound) {
      if (events.text.empty()) return read;
      break;  // what comes before is told first
    }
    events.upto = change.revision;
    if (read.ok()) events.text += EventText(id, "job", shown);
  }
  return events;
}

}  // namespace hearth::manager
