// hearth adopt: copy while the built-in store serves, restart containerd, copy the rest, register.
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/interrupt.h"
#include "cmd/subprocess.h"
#include "plugin/installer.h"
#include "plugin/toml_edit.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kDumpLimit{30};
constexpr std::chrono::seconds kRestartLimit{300};
constexpr std::chrono::seconds kLoadLimit{60};  // until a restarted containerd has its plugins
constexpr std::chrono::milliseconds kAskAgain{200};
constexpr const char* kDefaultContainerdRoot = "/var/lib/containerd";
constexpr const char* kContentDirectory = "/io.containerd.content.v1.content";

// What the phases did, for the report.
struct Work {
  json images = json::array();  // of the last phase
  uint64_t blobs = 0;
  uint64_t bytes = 0;
  size_t failed = 0;  // images
  bool restarted = false;
};

// Where the built-in store lies. kFailedPrecondition: containerd's files do not name our proxies.
Result<std::string> ContentRoot() {
  const auto dump = TRY(RunProgram(
      {"containerd", "--config", plugin::kContainerdConfigFile, "config", "dump"}, kDumpLimit));
  if (dump.exit_code != 0) {
    return FailedPrecondition("containerd cannot read its configuration: " + dump.err);
  }
  for (const char* id : {"hearth-content", "hearth"}) {
    if (TRY(plugin::TomlText(dump.out, {"proxy_plugins", id, "address"}))) continue;
    return FailedPrecondition("containerd's configuration has no [proxy_plugins." +
                              std::string(id) + "] (run: hearth install)");
  }
  const auto root = TRY(plugin::TomlText(dump.out, {"root"}));
  return (root && !root->empty() ? *root : kDefaultContainerdRoot) + kContentDirectory;
}

class Adopt {
 public:
  Adopt(const Common& common, const AdoptArgs& args, const config::NodeConfig& config,
        AdminClient& node, const Interrupt& interrupt)
      : common_(common),
        args_(args),
        ctr_(config.containerd.address),
        node_(node),
        interrupt_(interrupt) {}

  Result<int> Run() {
    const std::string root = TRY(ContentRoot());
    if (args_.dry_run) {
      TRY_STATUS(Phase("plan", root));
      return Report();
    }
    TRY_STATUS(Phase("copy", root));
    // A run that was cut short after the restart need not do it again.
    if (!Loaded()) TRY_STATUS(Restart());
    TRY_STATUS(Phase("finish", root));
    return Report();
  }

 private:
  void Say(const std::string& line) const {
    if (!common_.json && !common_.quiet) std::cout << line << std::endl;
  }

  Status Phase(const std::string& phase, const std::string& root) {
    work_.images = json::array();
    bool done = false;
    TRY_STATUS(node_.Stream(
        "/v1/adopt", json({{"content_root", root}, {"phase", phase}}).dump(),
        [&](std::string_view line) { return Take(line, done); }, interrupt_.token()));
    if (!done) return Unavailable("the node ended its answer early (see its log)");
    return OkStatus();
  }

  Status Take(std::string_view line, bool& done) {
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) return Internal("not an event: " + std::string(line));
    const std::string kind = event.value("event", "");
    if (kind == "failed") return FailedPrecondition(event.value("message", ""));
    if (kind == "image") {
      const std::string reason = event.value("reason", "");
      Say(event.value("namespace", "") + " " + event.value("name", "") + ": " +
          event.value("state", "") + (reason.empty() ? "" : ": " + reason));
      work_.images.push_back(event);
    }
    if (kind == "blob" && args_.dry_run) {
      Say(event.value("digest", "") + " " + FormatByteSize(event.value("size_bytes", uint64_t{0})));
    }
    if (kind == "done") {
      done = true;
      work_.blobs += event.value("blobs", uint64_t{0});
      work_.bytes += event.value("bytes", uint64_t{0});
      work_.failed = event.value("failed", size_t{0});
    }
    return OkStatus();
  }

  bool Loaded() const {
    const auto plugins = ctr_.Plugins();
    if (!plugins.ok()) return false;
    for (const ContainerdPlugin& plugin : *plugins) {
      if (plugin.type == "io.containerd.snapshotter.v1" && plugin.id == "hearth") return true;
    }
    return false;
  }

  Status Restart() {
    Say("restarting containerd: " + args_.restart);
    const auto result = TRY(RunProgram({"/bin/sh", "-c", args_.restart}, kRestartLimit));
    if (result.exit_code != 0) {
      return FailedPrecondition("\"" + args_.restart + "\" ended with " +
                                std::to_string(result.exit_code) + ": " + result.err +
                                " (restart containerd by hand, then run hearth adopt again)");
    }
    work_.restarted = true;
    const auto until = std::chrono::steady_clock::now() + kLoadLimit;
    while (!Loaded()) {
      if (interrupt_.happened()) return Cancelled("adoption");
      if (std::chrono::steady_clock::now() >= until) {
        return Unavailable("containerd has no snapshotter hearth " +
                           std::to_string(kLoadLimit.count()) +
                           " s after its restart (see its log, then run hearth adopt again)");
      }
      std::this_thread::sleep_for(kAskAgain);
    }
    return OkStatus();
  }

  int Report() const {
    if (common_.json) {
      std::cout << json{{"dry_run", args_.dry_run}, {"restarted", work_.restarted},
                        {"blobs", work_.blobs},     {"bytes", work_.bytes},
                        {"images", work_.images},   {"failed", work_.failed}}
                       .dump(2, ' ', false, json::error_handler_t::replace)
                << "\n";
    }
    Say((args_.dry_run ? "would take " : "took ") + std::to_string(work_.blobs) + " blobs, " +
        FormatByteSize(work_.bytes));
    if (work_.failed == 0) return kDone;
    std::cerr << "hearth: adopt: " << work_.failed << " of " << work_.images.size()
              << " images are not whole (pull them again, or remove them)\n";
    return work_.failed == work_.images.size() ? kFailed : kPartlyDone;
  }

  const Common& common_;
  const AdoptArgs& args_;
  const Ctr ctr_;
  AdminClient& node_;
  const Interrupt& interrupt_;
  Work work_;
};

}  // namespace

int RunAdopt(const Common& common, const AdoptArgs& args) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("adopt", config.status());
  const auto node = AdminClient::Create(config->AdminSocket());
  if (!node.ok()) return Fail("adopt", node.status());
  const auto result = Adopt(common, args, *config, **node, interrupt).Run();
  if (interrupt.happened()) {
    std::cerr << "hearth: adopt: interrupted (what was taken stays; run it again to go on)\n";
    return kInterrupted;
  }
  if (result.ok()) return *result;
  const int code = Fail("adopt", result.status());
  return code == kNotThere ? static_cast<int>(kFailed) : code;
}

}  // namespace hearth::cmd
