#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/live_lines.h"
#include "cmd/preheat_progress.h"

namespace hearth::cmd {

namespace {

std::string RequestBody(const PreheatArgs& args) {
  nlohmann::json body = {{"references", args.references},
                         {"depth", nullptr},
                         {"platforms", args.platforms},
                         {"pin_seconds", args.pin.count()}};
  if (!args.depth.empty()) body["depth"] = args.depth;
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Shows events as they come: redrawn on a terminal, else a line each; failures go to stderr.
class Display {
 public:
  Display(const Common& common, const PreheatArgs& args)
      : silent_(common.json || common.quiet),
        lines_(STDOUT_FILENO, !silent_),
        progress_(args.references) {}

  Status Take(std::string_view line) {
    const size_t settled = progress_.Settled();
    const size_t failed = progress_.Count(ImageProgress::State::kFailed);
    const std::string text = TRY(progress_.Take(line));
    if (progress_.Count(ImageProgress::State::kFailed) > failed) {
      if (!silent_ && lines_.live()) lines_.Clear();
      std::cerr << "hearth: preheat " << text << std::endl;
      return OkStatus();
    }
    if (silent_) return OkStatus();
    if (!lines_.live()) {
      if (!text.empty()) std::cout << text << std::endl;
      return OkStatus();
    }
    if (progress_.Settled() > settled) lines_.Print(text);
    lines_.Draw(progress_.Settled() == progress_.images().size()
                    ? std::vector<std::string>{}
                    : progress_.Lines(lines_.width(), lines_.height()));
    return OkStatus();
  }
  const PreheatProgress& progress() const { return progress_; }

 private:
  const bool silent_;
  LiveLines lines_;
  PreheatProgress progress_;
};

int Finish(const Common& common, const PreheatProgress& progress, bool interrupted) {
  if (common.json) std::cout << progress.Json(interrupted) << "\n";
  if (interrupted) {
    std::cerr << "hearth: preheat: interrupted: " << progress.Summary()
              << " (what is present stays; run it again to go on)\n";
    return kInterrupted;
  }
  const size_t done = progress.Count(ImageProgress::State::kDone);
  if (done == progress.images().size()) return kDone;
  if (done > 0) return kPartlyDone;
  const bool wrong_use =
      std::all_of(progress.images().begin(), progress.images().end(),
                  [](const ImageProgress& image) { return image.code == "invalid_argument"; });
  return wrong_use ? kWrongUse : kFailed;
}

}  // namespace

int RunPreheat(const Common& common, const PreheatArgs& args) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("preheat", config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail("preheat", client.status());

  Display display(common, args);
  Status status = (*client)->Stream(
      "/v1/preheat", RequestBody(args), [&display](auto line) { return display.Take(line); },
      interrupt.token());
  const PreheatProgress& progress = display.progress();
  const bool interrupted = interrupt.happened();
  if (status.ok() && progress.Settled() < progress.images().size()) {
    status = Unavailable("the node ended its answer early (see its log)");
  }
  const int code = Finish(common, progress, interrupted);
  if (interrupted || status.ok()) return code;
  const int failed = Fail("preheat", status);
  return failed == kNotThere ? static_cast<int>(kFailed) : failed;
}

}  // namespace hearth::cmd
