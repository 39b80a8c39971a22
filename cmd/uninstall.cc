// hearth uninstall: give containerd what only we hold, take back what install wrote, and, where
// asked, restart containerd and give what came in between.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/image_move.h"
#include "cmd/installation.h"
#include "cmd/interrupt.h"
#include "plugin/install_record.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using plugin::InstallLevel;
using plugin::InstallRecord;

constexpr size_t kMaxNamed = 20;  // containers or images in one message

std::string Joined(const std::vector<std::string>& all) {
  std::string names;
  for (size_t i = 0; i < all.size() && i < kMaxNamed; ++i) {
    names += (i == 0 ? "" : ", ") + all[i];
  }
  if (all.size() > kMaxNamed) names += ", …";
  return names;
}

std::string Describe(const InstallRecord::Restoration& restoration) {
  using How = InstallRecord::Restoration::How;
  std::string text;
  switch (restoration.how) {
    case How::kBringBack:
      text = "bring back ";
      break;
    case How::kRemove:
      text = "remove ";
      break;
    case How::kTakeOut:
      text = "take our settings out of ";
      break;
    case How::kLeave:
      text = "leave ";
      break;
  }
  return text + restoration.path + (restoration.note.empty() ? "" : ": " + restoration.note);
}

// Labels back to what they were; what cannot be done is said.
std::vector<std::string> RestoreLabels(const std::string& address, const InstallRecord& record) {
  std::vector<std::string> done;
  for (const auto& [name, before] : record.labels()) {
    const Status status = Ctr(address).LabelNamespace(name, kDefaultSnapshotterLabel, before);
    done.push_back(status.ok() ? "restored namespace " + name + "'s label"
                               : "namespace " + name + " keeps its label: " + status.message() +
                                     " (run: ctr namespaces label " + name + " " +
                                     kDefaultSnapshotterLabel + "=" + before + ")");
  }
  return done;
}

// kFailedPrecondition while a container's root is a snapshot of ours: it could not start again.
Status CheckUnused(const std::string& address) {
  if (address.empty()) return OkStatus();
  const auto containers = Ctr(address).ContainersOf("hearth");
  if (!containers.ok()) {
    return FailedPrecondition("cannot see whether containers use snapshotter \"hearth\": " +
                              containers.status().message() +
                              " (start containerd, or say --force)");
  }
  if (containers->empty()) return OkStatus();
  return FailedPrecondition(std::to_string(containers->size()) +
                            " containers use snapshotter \"hearth\" and could not start again: " +
                            Joined(*containers) + " (remove them first, or say --force)");
}

class Uninstall {
 public:
  Uninstall(const Common& common, const InstallArgs& args, const config::NodeConfig& config,
            InstallRecord record, const Interrupt& interrupt)
      : common_(common),
        args_(args),
        config_(config),
        record_(std::move(record)),
        interrupt_(interrupt),
        ctr_(config.containerd.address) {}

  Result<int> Run() {
    // Files of another machine's root: there is nobody to ask.
    const bool here = args_.root_prefix.empty() && !config_.containerd.address.empty();
    if (here) TRY_STATUS(Connect());
    if (record_.empty()) return here ? Resume() : Report();
    const bool ours =
        record_.level().value_or(InstallLevel::kContent) >= InstallLevel::kSnapshotter;
    if (args_.dry_run) return Plan(here && ours);
    if (here && ours) TRY_STATUS(Leave());
    for (std::string& line : RestoreLabels(config_.containerd.address, record_)) Did(line);
    for (std::string& line : TRY(record_.Restore())) Did(line);
    if (!args_.restart.empty()) TRY_STATUS(Restart());
    return Report();
  }

 private:
  void Did(const std::string& line) {
    if (!common_.json && !common_.quiet) std::cout << line << std::endl;
    changes_.push_back(line);
  }

  Status Connect() {
    node_ = TRY(AdminClient::Create(config_.AdminSocket()));
    move_ = std::make_unique<ImageMove>(*node_, "/v1/hand-back", !common_.json && !common_.quiet,
                                        interrupt_);
    return OkStatus();
  }

  Status Phase(const char* phase) {
    const std::string root = TRY(BuiltInContentRoot(TRY(DumpContainerdConfig())));
    const bool content = record_.empty() ||
                         record_.level().value_or(InstallLevel::kContent) == InstallLevel::kContent;
    const json body = {{"content_root", root},
                       {"phase", phase},
                       {"content", content},
                       {"unpack", !args_.no_unpack}};
    return move_->Run(body.dump(), args_.dry_run);
  }

  // What would be done, and what would stop it.
  Result<int> Plan(bool ours) {
    if (ours) {
      Status refusal = CheckUnused(config_.containerd.address);
      const auto loaded = SnapshotterLoaded(ctr_);
      if (loaded.ok() && *loaded) {
        const Status planned = Phase("plan");
        if (interrupt_.happened()) return planned;
        if (refusal.ok()) refusal = planned.ok() ? CheckWhole() : planned;
      }
      if (!refusal.ok()) Did("would be refused: " + (refusal_ = refusal.message()));
    }
    for (const auto& restoration : TRY(record_.PlanRestore()))
      Did("would " + Describe(restoration));
    for (const auto& [name, before] : record_.labels()) {
      Did("would restore namespace " + name + "'s label");
    }
    return Report();
  }

  // Everything that containerd needs without us, before any file changes.
  Status Leave() {
    if (args_.force) {
      const Status left = HandBack();
      if (left.ok() || interrupt_.happened()) return left;
      std::cerr << "hearth: uninstall: goes on without handing back: " << left.message() << "\n";
      return OkStatus();
    }
    TRY_STATUS(CheckUnused(config_.containerd.address));
    TRY_STATUS(HandBack());
    TRY_STATUS(CheckWhole());
    // That may have taken a while.
    return CheckUnused(config_.containerd.address);
  }

  Status HandBack() {
    if (!TRY(SnapshotterLoaded(ctr_))) return GiveWithoutUs();
    return Phase("copy");
  }

  // containerd runs without our plugins: it was never restarted with them, or somebody took them
  // away by hand, and then its store lacks what adopt and later pulls left in ours alone.
  Status GiveWithoutUs() {
    const Status given = Phase("finish");
    if (given.code() != StatusCode::kUnavailable) return given;
    std::cerr << "hearth: uninstall: no node answers: blobs that only its store has stay there "
                 "(start it and run this again before the store is removed)\n";
    return OkStatus();
  }

  // kFailedPrecondition: images that work now would not without us.
  Status CheckWhole() const {
    const auto failures = move_->Failures();
    if (failures.empty()) return OkStatus();
    return FailedPrecondition(std::to_string(failures.size()) +
                              " images would not work without Hearth: " + Joined(failures) +
                              " (mend or remove them first, or say --force)");
  }

  Status Restart() {
    move_->Say("restarting containerd: " + args_.restart);
    TRY_STATUS(RestartContainerd(args_.restart, ctr_, false, interrupt_));
    restarted_ = true;
    return Phase("finish");
  }

  // Nothing is installed any more: what an earlier run left to do after containerd's restart.
  Result<int> Resume() {
    const auto loaded = SnapshotterLoaded(ctr_);
    if (!loaded.ok() || args_.dry_run) return Report();
    if (*loaded) {
      if (args_.restart.empty()) {
        Did("containerd still runs with snapshotter hearth: restart it, then run hearth uninstall "
            "again");
        return Report();
      }
      TRY_STATUS(Restart());
      return Report();
    }
    const Status finished = Phase("finish");
    // No node, nothing to take from it.
    if (!finished.ok() && finished.code() != StatusCode::kUnavailable) return finished;
    resumed_ = finished.ok();
    return Report();
  }

  int Report() const {
    const size_t failed = move_ ? move_->failed() : 0;
    if (common_.json) {
      json report = move_ ? json::parse(move_->Report()) : json::object();
      report["dry_run"] = args_.dry_run;
      report["changes"] = changes_;
      report["restarted"] = restarted_;
      report["refusal"] = refusal_;
      std::cout << report.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    } else if (!common_.quiet) {
      SayEnd();
    }
    return args_.dry_run || failed == 0 ? kDone : kPartlyDone;
  }

  void SayEnd() const {
    if (move_ && move_->blobs() > 0) {
      std::cout << (args_.dry_run ? "would give " : "gave ") << move_->BlobsLine()
                << " to containerd's own store\n";
    }
    if (changes_.empty()) {
      std::cout << "nothing is installed (no " << InstallRecord::kFile << ")\n";
    }
    if (args_.dry_run) return;
    if (restarted_ || resumed_) {
      std::cout << "Next: stop the node; its store can then be removed: " << config_.root.string()
                << "\n";
    } else if (!changes_.empty()) {
      std::cout
          << "Nothing was restarted. Next: restart containerd, run hearth uninstall once more "
             "(it gives what came in between), then stop the node.\n";
    }
  }

  const Common& common_;
  const InstallArgs& args_;
  const config::NodeConfig& config_;
  InstallRecord record_;
  const Interrupt& interrupt_;
  const Ctr ctr_;
  std::unique_ptr<AdminClient> node_;
  std::unique_ptr<ImageMove> move_;
  std::vector<std::string> changes_;
  std::string refusal_;
  bool restarted_ = false;
  bool resumed_ = false;
};

}  // namespace

int RunUninstall(const Common& common, const InstallArgs& args) {
  const Interrupt interrupt;
  auto record = InstallRecord::Load(args.root_prefix);
  if (!record.ok()) return EndInstallation("uninstall", record.status());
  // The node's own configuration may be among the files that go.
  const auto config = NodeConfigBelow(common, args.root_prefix);
  if (!config.ok()) return EndInstallation("uninstall", config.status());
  const auto result = Uninstall(common, args, *config, std::move(*record), interrupt).Run();
  if (interrupt.happened()) {
    std::cerr << "hearth: uninstall: interrupted (what was given stays; run it again to go on)\n";
    return kInterrupted;
  }
  return EndInstallation("uninstall", result);
}

}  // namespace hearth::cmd
