// hearth adopt: copy while the built-in store serves, stop new pulls, copy the rest, restart
// containerd, register.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/image_move.h"
#include "cmd/interrupt.h"
#include "cmd/pull_stop.h"
#include "plugin/toml_edit.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

// The store's directory for ingests is made anew at most once.
constexpr int kMaxHolds = 3;

// Where the built-in store lies. kFailedPrecondition: containerd's files do not name our proxies.
Result<std::string> ContentRoot() {
  const std::string dump = TRY(DumpContainerdConfig());
  for (const char* id : {"hearth-content", "hearth"}) {
    if (TRY(plugin::TomlText(dump, {"proxy_plugins", id, "address"}))) continue;
    return FailedPrecondition("containerd's configuration has no [proxy_plugins." +
                              std::string(id) + "] (run: hearth install)");
  }
  return BuiltInContentRoot(dump);
}

class Adopt {
 public:
  Adopt(const Common& common, const AdoptArgs& args, const config::NodeConfig& config,
        AdminClient& node, Interrupt& interrupt)
      : common_(common),
        args_(args),
        ctr_(config.containerd.address),
        move_(node, "/v1/adopt", !common.json && !common.quiet, interrupt),
        interrupt_(interrupt) {}

  Result<int> Run() {
    const std::string root = TRY(ContentRoot());
    if (args_.dry_run) {
      const Status planned = Phase("plan", root);
      if (const auto room = move_.room()) {
        move_.Say("layers, and blobs that cannot be shared, would take " +
                  FormatByteSize(room->needed_bytes) + ", where " +
                  FormatByteSize(room->free_bytes) + " are free");
      }
      TRY_STATUS(planned);
      return Report();
    }
    PullStop pulls(root);
    const Interrupt::AtSecond resume_pulls(interrupt_, [&pulls] { pulls.End(); });
    TRY_STATUS(Phase("copy", root));
    // A run that was cut short after the restart need not do it again.
    const auto loaded = ContentLoaded(ctr_);
    if (!loaded.ok() || !*loaded) TRY_STATUS(Switch(root, pulls));
    TRY_STATUS(Phase("finish", root));
    return Report();
  }

 private:
  // From the last copy on, no image can come in that only the built-in store has.
  Status Switch(const std::string& root, PullStop& pulls) {
    const auto since = std::chrono::steady_clock::now();
    for (int turn = 0; turn < kMaxHolds && TRY(pulls.Hold()); ++turn) {
      TRY_STATUS(Phase("copy", root));
    }
    move_.Say("restarting containerd: " + args_.restart);
    TRY_STATUS(RestartContainerd(args_.restart, ctr_, true, interrupt_));
    restarted_ = true;
    refused_ = std::chrono::steady_clock::now() - since;
    return OkStatus();
  }

  Status Phase(const std::string& phase, const std::string& root) {
    // What came after a restart that others had made, containerd did not see at its start.
    const bool tell = !restarted_ && move_.blobs() > 0;
    const json body = {{"content_root", root}, {"phase", phase}, {"tell", tell}};
    return move_.Run(body.dump(), args_.dry_run);
  }

  int Report() const {
    if (common_.json) {
      json report = json::parse(move_.Report());
      report["dry_run"] = args_.dry_run;
      report["restarted"] = restarted_;
      report["refused_seconds"] = refused_.count();
      report["needed_bytes"] = move_.room() ? move_.room()->needed_bytes : 0;
      std::cout << report.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    }
    move_.Say((args_.dry_run ? "would take " : "took ") + move_.BlobsLine());
    const size_t failed = move_.failed();
    if (failed == 0) return kDone;
    std::cerr << "hearth: adopt: " << failed << " of " << move_.images()
              << " images are not whole (pull them again, or remove them)\n";
    return failed == move_.images() ? kFailed : kPartlyDone;
  }

  const Common& common_;
  const AdoptArgs& args_;
  const Ctr ctr_;
  ImageMove move_;
  Interrupt& interrupt_;
  bool restarted_ = false;
  std::chrono::duration<double> refused_{0};  // pulls, until containerd was back
};

}  // namespace

int RunAdopt(const Common& common, const AdoptArgs& args) {
  Interrupt interrupt;
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
