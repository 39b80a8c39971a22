// hearth repair: shows what the node brings back of what its store lost.
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/live_lines.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

class Repair {
 public:
  Repair(const Common& common, const RepairArgs& args, AdminClient& node,
         const Interrupt& interrupt)
      : common_(common),
        args_(args),
        node_(node),
        interrupt_(interrupt),
        lines_(STDERR_FILENO, !common.json && !common.quiet) {}

  Result<int> Run() {
    TRY_STATUS(node_.Stream(
        "/v1/repair", json({{"dry_run", args_.dry_run}, {"verify", args_.verify}}).dump(),
        [this](std::string_view line) { return Take(line); }, interrupt_.token()));
    lines_.Clear();
    if (done_.is_null()) return Unavailable("the node ended its answer early (see its log)");
    return Report();
  }

 private:
  void Say(const std::string& line) {
    if (common_.json || common_.quiet) return;
    lines_.Clear();
    std::cout << line << std::endl;
  }

  Status Take(std::string_view line) {
    json event = json::parse(line, nullptr, false);
    if (!event.is_object()) return Internal("not an event: " + std::string(line));
    const std::string kind = event.value("event", "");
    if (kind == "failed") return FailedPrecondition(event.value("message", ""));
    if (kind == "damaged") {
      Say(event.value("problem", ""));
      damaged_.push_back(event.value("problem", ""));
    }
    if (kind == "surveyed") {
      lost_ = event;
      lost_.erase("event");
    }
    if (kind == "progress") {
      lines_.Draw({FormatByteSize(event.value("bytes_done", uint64_t{0})) + " of " +
                   FormatByteSize(event.value("bytes_total", uint64_t{0}))});
    }
    if (kind == "item") TakeItem(std::move(event));
    if (kind == "done") done_ = std::move(event);
    return OkStatus();
  }

  void TakeItem(json item) {
    item.erase("event");
    const std::string state = item.value("state", "");
    if (state == "lost") ++still_lost_;
    std::string line = item.value("kind", "") + " " + item.value("namespace", "") + " " +
                       item.value("name", "") + ": " + state;
    if (state == "lost" && item.value("kind", "") == "image") {
      line += ": " + std::to_string(item.value("blobs", 0)) + " blobs, " +
              FormatByteSize(item.value("bytes", uint64_t{0})) + ", " +
              std::to_string(item.value("layers", 0)) + " layers";
    }
    const std::string reason = item.value("reason", "");
    if (!reason.empty()) line += ": " + reason;
    if (state != "whole" || !reason.empty()) Say(line);
    items_.push_back(std::move(item));
  }

  int Report() {
    const size_t failed = done_.value("failed", size_t{0});
    const size_t repaired = done_.value("repaired", size_t{0});
    if (common_.json) {
      std::cout << json{{"dry_run", args_.dry_run},
                        {"lost", lost_},
                        {"damaged", damaged_},
                        {"items", items_},
                        {"blobs", done_.value("blobs", 0)},
                        {"bytes", done_.value("bytes", uint64_t{0})},
                        {"snapshots", done_.value("snapshots", 0)},
                        {"repaired", repaired},
                        {"failed", failed}}
                       .dump(2, ' ', false, json::error_handler_t::replace)
                << "\n";
    }
    const bool lost =
        lost_.value("blobs", 0) > 0 || lost_.value("snapshots", 0) > 0 || !damaged_.empty();
    if (!lost && failed == 0) {
      Say("nothing is lost");
    } else if (args_.dry_run) {
      Say("lost: " + std::to_string(lost_.value("blobs", 0)) + " blobs, " +
          FormatByteSize(lost_.value("bytes", uint64_t{0})) + ", " +
          std::to_string(lost_.value("snapshots", 0)) + " snapshots");
    } else {
      Say("brought back " + std::to_string(done_.value("blobs", 0)) + " blobs, " +
          FormatByteSize(done_.value("bytes", uint64_t{0})) + ", " +
          std::to_string(done_.value("snapshots", 0)) + " snapshots");
    }
    if (failed == 0) return kDone;
    if (common_.quiet || common_.json) {
      for (const json& item : items_) {
        if (item.value("state", "") != "failed") continue;
        std::cerr << "hearth: repair: " << item.value("kind", "") << " "
                  << item.value("namespace", "") << " " << item.value("name", "") << ": "
                  << item.value("reason", "") << "\n";
      }
    }
    std::cerr << "hearth: repair: " << failed << " could not be repaired (the reason stands at "
              << "each; run it again when that is mended)\n";
    return repaired + still_lost_ == 0 ? kFailed : kPartlyDone;
  }

  const Common& common_;
  const RepairArgs& args_;
  AdminClient& node_;
  const Interrupt& interrupt_;
  LiveLines lines_;
  json items_ = json::array();
  json damaged_ = json::array();
  json lost_ = json::object();
  json done_;
  size_t still_lost_ = 0;
};

}  // namespace

int RunRepair(const Common& common, const RepairArgs& args) {
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("repair", config.status());
  const auto node = AdminClient::Create(config->AdminSocket());
  if (!node.ok()) return Fail("repair", node.status());
  const auto result = Repair(common, args, **node, interrupt).Run();
  if (interrupt.happened()) {
    std::cerr << "hearth: repair: interrupted (what is back stays; run it again to go on)\n";
    return kInterrupted;
  }
  if (result.ok()) return *result;
  const int code = Fail("repair", result.status());
  return code == kNotThere ? static_cast<int>(kFailed) : code;
}

}  // namespace hearth::cmd
