#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/installation.h"
#include "plugin/install_record.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;
using plugin::InstallRecord;

constexpr size_t kMaxNamed = 20;  // containers in one message

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
  std::string names;
  for (size_t i = 0; i < containers->size() && i < kMaxNamed; ++i) {
    names += (i == 0 ? "" : ", ") + (*containers)[i];
  }
  if (containers->size() > kMaxNamed) names += ", …";
  return FailedPrecondition(std::to_string(containers->size()) +
                            " containers use snapshotter \"hearth\" and could not start again: " +
                            names + " (remove them first, or say --force)");
}

Result<int> Uninstall(const Common& common, const InstallArgs& args) {
  InstallRecord record = TRY(InstallRecord::Load(args.root_prefix));
  std::vector<std::string> lines;
  if (args.dry_run) {
    for (const auto& restoration : TRY(record.PlanRestore())) {
      lines.push_back("would " + Describe(restoration));
    }
    for (const auto& [name, before] : record.labels()) {
      lines.push_back("would restore namespace " + name + "'s label");
    }
  } else if (!record.empty()) {
    // The node's own configuration may be among the files that go.
    const auto config = TRY(NodeConfigBelow(common, args.root_prefix));
    if (args.root_prefix.empty() && !args.force) {
      TRY_STATUS(CheckUnused(config.containerd.address));
    }
    lines = RestoreLabels(config.containerd.address, record);
    for (std::string& line : TRY(record.Restore())) lines.push_back(std::move(line));
  }
  if (common.json) {
    std::cout << json{{"dry_run", args.dry_run}, {"changes", lines}}.dump(
                     2, ' ', false, json::error_handler_t::replace)
              << "\n";
    return static_cast<int>(kDone);
  }
  if (common.quiet) return static_cast<int>(kDone);
  for (const std::string& line : lines) std::cout << line << "\n";
  if (lines.empty()) {
    std::cout << "nothing is installed (no " << InstallRecord::kFile << ")\n";
  } else if (!args.dry_run) {
    std::cout << "Nothing was restarted. Next: restart containerd, then stop the node. Images that "
                 "were pulled through Hearth have to be pulled again.\n";
  }
  return static_cast<int>(kDone);
}

}  // namespace

int RunUninstall(const Common& common, const InstallArgs& args) {
  return EndInstallation("uninstall", Uninstall(common, args));
}

}  // namespace hearth::cmd
