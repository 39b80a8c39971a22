// hearth prepull: ImagePrePullJobs from files, handed to the manager.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cmd/api_client.h"
#include "cmd/interrupt.h"
#include "cmd/live_lines.h"
#include "cmd/manager_commands.h"
#include "cmd/pull_job_view.h"
#include "manager/kube_documents.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kPollPause{500};
constexpr std::chrono::seconds kPatience{60};
constexpr char kPath[] = "/api/v1/pull-jobs";

std::string Dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

Result<std::string> ReadInput(const std::string& file) {
  if (file != "-") return ReadFile(file, manager::YamlObject::kMaxBytes);
  std::string text;
  char buffer[64 << 10];
  while (std::cin.read(buffer, sizeof(buffer)) || std::cin.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(std::cin.gcount()));
    if (text.size() > manager::YamlObject::kMaxBytes) {
      return ResourceExhausted("is larger than 1 MiB");
    }
  }
  return text;
}

// "NAMESPACE/NAME=FILE", the file a docker config, as the document of a Secret.
Result<std::string> SecretDocument(const std::string& argument) {
  const size_t equals = argument.find('=');
  const size_t slash = argument.find('/');
  if (equals == std::string::npos || slash >= equals) {
    return InvalidArgument("--secret " + argument.substr(0, equals) +
                           ": expected NAMESPACE/NAME=FILE");
  }
  const std::string name = argument.substr(0, equals);
  const std::string file = argument.substr(equals + 1);
  const auto secret = TRY(manager::PullSecret::FromDockerConfig(
                              name, TRY(ReadFile(file, manager::YamlObject::kMaxBytes)))
                              .Annotate("--secret " + name + ": " + file));
  return Dump(
      {{"apiVersion", "v1"},
       {"kind", "Secret"},
       {"metadata", {{"namespace", name.substr(0, slash)}, {"name", name.substr(slash + 1)}}},
       {"type", "kubernetes.io/dockerconfigjson"},
       {"stringData", {{".dockerconfigjson", secret.docker_config.Reveal()}}}},
      -1);
}

// One stream of documents; each file was read through, so that errors name its lines.
Result<std::string> Documents(const PrepullArgs& args) {
  std::string stream;
  size_t jobs = 0;
  for (const std::string& file : args.files) {
    const std::string shown = file == "-" ? "stdin" : file;
    const std::string text = TRY(ReadInput(file).Annotate(shown));
    const auto parsed = manager::KubeDocuments::Parse(text);
    if (!parsed.ok()) {
      const bool several = parsed.status().message().find('\n') != std::string::npos;
      return Status(parsed.status().code(),
                    shown + (several ? ":\n" : ": ") + parsed.status().message());
    }
    jobs += parsed->jobs.size();
    stream += text + "\n---\n";
  }
  if (jobs == 0) return InvalidArgument("no file has an ImagePrePullJob");
  for (const std::string& secret : args.secrets) {
    stream += TRY(SecretDocument(secret)) + "\n---\n";
  }
  return stream;
}

// Waits, but not when interrupted.
void Pause(const Interrupt& interrupt) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  (void)changed.wait_for(lock, interrupt.token(), kPollPause, [] { return false; });
}

int CodeOf(const std::vector<PullJobView>& jobs) {
  const auto whole = [](const PullJobView& job) {
    return job.phase == "Completed" && job.failed == 0;
  };
  if (std::ranges::all_of(jobs, whole)) return kDone;
  const bool some =
      std::ranges::any_of(jobs, [](const PullJobView& job) { return job.succeeded > 0; });
  return some ? kPartlyDone : kFailed;
}

// Shows jobs until each has ended; their last JSON is in `items`.
class Watch {
 public:
  Watch(const Common& common, const ApiClient& client, const Interrupt& interrupt)
      : client_(client),
        interrupt_(interrupt),
        silent_(common.json || common.quiet),
        lines_(STDOUT_FILENO, !silent_) {}

  Status Run(std::vector<json>& items, std::vector<PullJobView>& views) {
    std::vector<bool> told(items.size(), false);
    for (;;) {
      bool all = true;
      std::vector<std::string> drawn;
      for (size_t i = 0; i < items.size(); ++i) {
        if (!told[i]) TRY_STATUS(Patiently(Refresh(items[i], views[i])));
        if (views[i].ended() && !told[i]) Tell(views[i]);
        told[i] = views[i].ended();
        all = all && told[i];
        if (told[i]) continue;
        const size_t room = lines_.height() - std::min(lines_.height(), drawn.size());
        for (std::string& line : views[i].Lines(lines_.width(), room)) {
          drawn.push_back(std::move(line));
        }
      }
      lines_.Draw(drawn);
      if (all) return OkStatus();
      Pause(interrupt_);
      if (interrupt_.happened()) return OkStatus();
    }
  }

 private:
  // A manager that restarts is waited for.
  Status Patiently(const Status& asked) {
    const auto now = std::chrono::steady_clock::now();
    if (asked.ok()) answered_ = now;
    const bool away =
        asked.code() == StatusCode::kUnavailable || asked.code() == StatusCode::kDeadlineExceeded;
    return away && now < answered_ + kPatience ? OkStatus() : asked;
  }
  Status Refresh(json& item, PullJobView& view) {
    const std::string text = TRY(client_.Call(
        "GET", std::string(kPath) + "/" + net::PercentEncode(view.name), "", interrupt_.token()));
    view = TRY(PullJobView::Parse(text));
    item = json::parse(text);
    return OkStatus();
  }
  void Tell(const PullJobView& view) {
    lines_.Clear();
    if (view.failed > 0 || view.phase == "Failure") {
      std::cerr << "hearth: prepull " << view.Summary()
                << (view.reason.empty() ? "" : ": " + view.reason) << std::endl;
    } else if (!silent_) {
      lines_.live() ? lines_.Print(view.Summary()) : void(std::cout << view.Summary() << std::endl);
    }
  }

  const ApiClient& client_;
  const Interrupt& interrupt_;
  const bool silent_;
  LiveLines lines_;
  std::chrono::steady_clock::time_point answered_ = std::chrono::steady_clock::now();
};

}  // namespace

int RunPrepull(const Common& common, const ManagerArgs& manager, const PrepullArgs& args) {
  const Interrupt interrupt;
  const auto documents = Documents(args);
  if (!documents.ok()) return Fail("prepull", documents.status());
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail("prepull", client.status());
  const auto answer =
      (*client)->Call("POST", std::string(kPath) + (args.dry_run ? "?dry_run=true" : ""),
                      *documents, interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!answer.ok()) return Fail("prepull", answer.status());

  const json made = json::parse(*answer, nullptr, false);
  std::vector<json> items;
  std::vector<PullJobView> views;
  for (const json& item : made.is_object() ? made.value("items", json::array()) : json::array()) {
    const auto view = PullJobView::Parse(Dump(item, -1));
    if (!view.ok()) return Fail("prepull", view.status());
    items.push_back(item);
    views.push_back(*view);
  }
  const bool wait = args.wait && !args.dry_run;
  if (wait) {
    const Status watched = Watch(common, **client, interrupt).Run(items, views);
    if (interrupt.happened()) {
      std::cerr << "hearth: prepull: interrupted (the jobs go on; hearth jobs ls shows them)\n";
      return kInterrupted;
    }
    if (!watched.ok()) return Fail("prepull", watched);
  }
  if (common.json) {
    std::cout << Dump({{"items", items}}, 2) << "\n";
  } else if (!common.quiet && !wait) {
    for (const PullJobView& view : views) {
      std::cout << view.name << ": " << (args.dry_run ? "would go to " : "goes to ") << view.desired
                << (view.desired == 1 ? " node" : " nodes") << "\n";
    }
  }
  return wait ? CodeOf(views) : kDone;
}

}  // namespace hearth::cmd
