// hearth jobs, and hearth preheat --manager: preheats that the manager runs on its nodes.
#include <unistd.h>

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/units.h"
#include "cmd/api_client.h"
#include "cmd/interrupt.h"
#include "cmd/live_lines.h"
#include "cmd/manager_commands.h"
#include "cmd/preheat_progress.h"
#include "cmd/table.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kPause{500};
constexpr std::chrono::seconds kPatience{60};  // with a manager that answers no more
constexpr size_t kBarCells = 20;
constexpr const char* kJobs = "/oapi/v1/jobs";

std::string TextOf(const json& entry, const char* key, const char* otherwise = "-") {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

uint64_t NumberOf(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// The API has some names twice, for Dragonfly's clients; scripts get the snake_case one.
json WithoutDoubles(json job) {
  if (const auto args = job.find("args"); args != job.end() && args->is_object()) {
    args->erase("filteredQueryParams");
    args->erase("pieceLength");
  }
  return job;
}

std::string DumpJob(const json& job) {
  return WithoutDoubles(job).dump(2, ' ', false, json::error_handler_t::replace);
}

struct ApiRequest {
  std::string method = "GET";
  std::string target;
};

// One call; 130 when it was interrupted.
int Ask(const std::string& what, const ManagerArgs& manager, const ApiRequest& request,
        const std::function<void(const json&)>& show) {
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail(what, client.status());
  const auto answer = (*client)->Call(request.method, request.target, "", interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!answer.ok()) return Fail(what, answer.status());
  const json parsed = json::parse(*answer, nullptr, false);
  if (parsed.is_discarded()) return Fail(what, DataLoss("the manager's answer is no JSON"));
  show(parsed);
  return kDone;
}

std::string PathOf(const std::string& id) {
  return std::string(kJobs) + "/" + net::PercentEncode(id);
}

json Member(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found == entry.end() ? json() : *found;
}

// "2 of 3 nodes, 1 failed"
std::string NodesOf(const json& job) {
  const json nodes = Member(Member(job, "progress"), "nodes");
  if (!nodes.is_object()) return "";
  std::string text = std::to_string(NumberOf(nodes, "succeeded")) + " of " +
                     std::to_string(NumberOf(nodes, "total")) + " nodes";
  if (const uint64_t failed = NumberOf(nodes, "failed"); failed > 0) {
    text += ", " + std::to_string(failed) + " failed";
  }
  return text;
}

std::optional<double> EtaOf(const json& progress) {
  const json left = Member(progress, "eta_seconds");
  return left.is_number() ? std::optional(left.get<double>()) : std::nullopt;
}

// " at 12 MB/s, eta 40s", while something comes
std::string PaceOf(const json& progress) {
  const uint64_t rate = NumberOf(progress, "bytes_per_second");
  if (rate == 0) return "";
  return " at " + FormatRate(static_cast<double>(rate)) + ", eta " + FormatEta(EtaOf(progress));
}

std::string ProgressLine(const json& job) {
  const json progress = Member(job, "progress");
  const uint64_t done = NumberOf(progress, "bytes_done");
  const uint64_t total = NumberOf(progress, "bytes_total");
  return "job " + Member(job, "id").dump() + " " + Bar(done, total, kBarCells) + " " +
         FormatByteSize(done) + " of " + FormatByteSize(total) + PaceOf(progress) + ", " +
         NodesOf(job) + ", " + TextOf(job, "state");
}

void PrintFailures(const json& job) {
  for (const json& cluster : Member(Member(job, "result"), "job_states")) {
    for (const json& result : Member(cluster, "results")) {
      for (const json& task : Member(result, "failure_tasks")) {
        std::cerr << "hearth: " << TextOf(task, "hostname") << ": " << TextOf(task, "url") << ": "
                  << TextOf(task, "description") << "\n";
      }
    }
  }
}

// Of a job that ended.
int ExitOf(const json& job) {
  const json nodes = Member(Member(job, "progress"), "nodes");
  const uint64_t done = NumberOf(nodes, "succeeded");
  const uint64_t failed = NumberOf(nodes, "failed");
  if (failed == 0 && TextOf(job, "state") == "SUCCESS") return kDone;
  return done > 0 ? kPartlyDone : kFailed;
}

void ShowJob(const json& job) {
  Table table({"FIELD", "VALUE"});
  table.Add({"id", Member(job, "id").dump()});
  for (const char* key : {"state", "reason", "bio", "created_at", "updated_at", "deadline_at"}) {
    if (const std::string text = TextOf(job, key, ""); !text.empty()) table.Add({key, text});
  }
  for (const json& url : Member(Member(job, "args"), "urls")) {
    if (url.is_string()) table.Add({"item", url.get<std::string>()});
  }
  const json progress = Member(job, "progress");
  table.Add({"nodes", NodesOf(job)});
  for (const char* key :
       {"bytes_done", "bytes_total", "peer_bytes", "origin_bytes", "present_bytes"}) {
    table.Add({key, FormatByteSize(NumberOf(progress, key))});
  }
  if (const uint64_t rate = NumberOf(progress, "bytes_per_second"); rate > 0) {
    table.Add({"rate", FormatRate(static_cast<double>(rate))});
    table.Add({"eta", FormatEta(EtaOf(progress))});
  }
  std::cout << table.ToString();
}

// Shows each change until the job has ended. A manager that restarts meanwhile is waited for.
class Watcher {
 public:
  Watcher(const Common& common, const ApiClient& client, const Interrupt& interrupt)
      : common_(common),
        client_(client),
        interrupt_(interrupt),
        lines_(STDOUT_FILENO, !common.json && !common.quiet) {}

  int Run(const std::string& id) {
    std::optional<std::chrono::steady_clock::time_point> heard;
    std::string tag;
    while (true) {
      const auto answer = client_.Next(PathOf(id), tag, interrupt_.token());
      if (interrupt_.happened()) return Interrupted(id);
      const auto now = std::chrono::steady_clock::now();
      if (answer.ok()) {
        heard = now;
        if (!answer->empty()) {
          const json job = json::parse(*answer, nullptr, false);
          if (Take(job)) return Finish(job);
        }
        if (!tag.empty()) continue;  // the manager answers when there is more
      } else if (answer.status().code() == StatusCode::kResourceExhausted) {
        tag.clear();  // too many wait: ask now and then
      }
      if (!answer.ok() && (!MayPass(answer.status()) || !heard || now - *heard > kPatience)) {
        lines_.Clear();
        return Fail("jobs watch " + id, answer.status());
      }
      if (!Pause()) return Interrupted(id);
    }
  }

 private:
  static bool MayPass(const Status& status) {
    return status.code() == StatusCode::kUnavailable ||
           status.code() == StatusCode::kDeadlineExceeded ||
           status.code() == StatusCode::kResourceExhausted;
  }
  bool Pause() const {
    const auto until = std::chrono::steady_clock::now() + kPause;
    while (std::chrono::steady_clock::now() < until && !interrupt_.happened()) {
      ::usleep(20'000);
    }
    return !interrupt_.happened();
  }
  int Interrupted(const std::string& id) {
    lines_.Clear();
    std::cerr << "hearth: jobs watch: interrupted; the job goes on (hearth jobs cancel " << id
              << " ends it)\n";
    return kInterrupted;
  }
  // Whether it has ended.
  bool Take(const json& job) {
    const bool ended = TextOf(job, "state") != "PENDING";
    const std::string line = ProgressLine(job);
    if (lines_.live()) {
      lines_.Draw(ended ? std::vector<std::string>{} : std::vector<std::string>{line});
    } else if (!common_.json && !common_.quiet && line != last_ && (ended || LineIsDue())) {
      std::cout << line << std::endl;
    }
    last_ = line;
    return ended;
  }
  // A log is spared the lines between.
  bool LineIsDue() {
    const auto now = std::chrono::steady_clock::now();
    if (printed_ && now - *printed_ < kPause) return false;
    printed_ = now;
    return true;
  }
  int Finish(const json& job) {
    if (lines_.live()) lines_.Print(last_);
    if (common_.json) std::cout << DumpJob(job) << "\n";
    const int code = ExitOf(job);
    if (code == kDone) return code;
    PrintFailures(job);
    std::cerr << "hearth: job " << Member(job, "id").dump() << " ended as " << TextOf(job, "state")
              << ": " << TextOf(job, "reason") << "\n";
    return code;
  }

  const Common& common_;
  const ApiClient& client_;
  const Interrupt& interrupt_;
  LiveLines lines_;
  std::string last_;
  std::optional<std::chrono::steady_clock::time_point> printed_;
};

std::string RequestOf(const PreheatArgs& args) {
  json images = json::array();
  json files = json::array();
  for (const std::string& reference : args.references) {
    const bool url = reference.starts_with("http://") || reference.starts_with("https://");
    const bool manifest = reference.find("/manifests/") != std::string::npos;
    (url && !manifest ? files : images).push_back(reference);
  }
  const bool file = images.empty();
  json body = {{"type", "preheat"},
               {"args",
                {{"type", file ? "file" : "image"},
                 {"urls", file ? files : images},
                 {"depth", args.depth},
                 {"platforms", args.platforms}}}};
  if (args.pin.count() > 0) body["args"]["pin"] = std::to_string(args.pin.count()) + "s";
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool IsMixed(const PreheatArgs& args) {
  const auto type = [](const std::string& body) {
    return json::parse(body)["args"]["urls"].size();
  };
  return type(RequestOf(args)) != args.references.size();
}

}  // namespace

int RunJobsList(const Common& common, const ManagerArgs& manager, const std::string& state) {
  const std::string query = state.empty() ? "" : "&state=" + net::PercentEncode(state);
  return Ask(
      "jobs ls", manager, {.target = std::string(kJobs) + "?per_page=100" + query},
      [&](const json& jobs) {
        if (common.json) {
          json list = json::array();
          for (const json& job : jobs) list.push_back(WithoutDoubles(job));
          std::cout << DumpJob({{"jobs", std::move(list)}}) << "\n";
          return;
        }
        if (common.quiet) return;
        Table table({"ID", "STATE", "TYPE", "CREATED", "URL", "REASON"});
        for (const json& job : jobs) {
          const json args = Member(job, "args");
          table.Add({Member(job, "id").dump(), TextOf(job, "state"), TextOf(args, "type"),
                     TextOf(job, "created_at"), TextOf(args, "url"), TextOf(job, "reason", "")});
        }
        std::cout << (table.empty() ? "no jobs\n" : table.ToString());
      });
}

int RunJobsShow(const Common& common, const ManagerArgs& manager, const std::string& id) {
  return Ask("jobs show " + id, manager, {.target = PathOf(id)}, [&](const json& job) {
    if (common.json) {
      std::cout << DumpJob(job) << "\n";
    } else if (!common.quiet) {
      ShowJob(job);
      PrintFailures(job);
    }
  });
}

int RunJobsChange(const Common& common, const ManagerArgs& manager, const std::string& verb,
                  const std::string& id) {
  return Ask("jobs " + verb + " " + id, manager,
             {.method = "POST", .target = PathOf(id) + "/" + verb}, [&](const json& job) {
               if (common.json) {
                 std::cout << DumpJob(job) << "\n";
               } else if (!common.quiet) {
                 std::cout << "job " << id << " is " << TextOf(job, "state") << "\n";
               }
             });
}

int RunJobsWatch(const Common& common, const ManagerArgs& manager, const std::string& id) {
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail("jobs watch", client.status());
  return Watcher(common, **client, interrupt).Run(id);
}

int RunClusterPreheat(const Common& common, const ManagerArgs& manager, const PreheatArgs& args) {
  if (IsMixed(args)) {
    return Fail("preheat", InvalidArgument("images and files are jobs of their own: ask for the "
                                           "one, then for the other"));
  }
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail("preheat", client.status());
  const auto made = (*client)->Call("POST", kJobs, RequestOf(args), interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!made.ok()) return Fail("preheat", made.status());
  const json job = json::parse(*made, nullptr, false);
  return Watcher(common, **client, interrupt).Run(Member(job, "id").dump());
}

}  // namespace hearth::cmd
