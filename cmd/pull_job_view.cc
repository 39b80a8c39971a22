#include "cmd/pull_job_view.h"

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

std::string LineOf(const PullJobView::Node& node) {
  std::string line = "  " + node.name + "  " + node.phase;
  if (node.phase == "InProgress" && node.bytes_total > 0) {
    line += "  " + FormatByteSize(node.bytes_done) + " of " + FormatByteSize(node.bytes_total);
  }
  return node.reason.empty() ? line : line + "  " + node.reason;
}

}  // namespace

Result<PullJobView> PullJobView::Parse(const std::string& text) {
  PullJobView view;
  try {
    const json job = json::parse(text);
    const json& status = job.at("status");
    view.name = job.at("metadata").at("name").get<std::string>();
    view.phase = status.at("phase").get<std::string>();
    view.reason = status.value("reason", "");
    const json& counts = status.at("nodes");
    view.desired = counts.at("desired").get<uint64_t>();
    view.succeeded = counts.at("succeeded").get<uint64_t>();
    view.failed = counts.at("failed").get<uint64_t>();
    for (const json& one : status.value("nodeStatus", json::array())) {
      view.nodes.push_back({one.at("nodeName").get<std::string>(),
                            one.at("phase").get<std::string>(), one.value("reason", ""),
                            one.value("bytesDone", uint64_t{0}),
                            one.value("bytesTotal", uint64_t{0})});
    }
  } catch (const json::exception&) {
    return DataLoss("the manager's answer is no pull job (is it another version?)");
  }
  return view;
}

std::string PullJobView::Summary() const {
  std::string text = name + ": " + std::to_string(succeeded) + " of " + std::to_string(desired) +
                     (desired == 1 ? " node has it" : " nodes have it");
  if (failed > 0) text += ", " + std::to_string(failed) + " failed";
  return text;
}

std::vector<std::string> PullJobView::Lines(size_t width, size_t height) const {
  std::vector<std::string> lines = {Summary()};
  for (const Node& node : nodes) {
    if (node.phase == "Successful" || node.phase == "Pending") continue;
    if (lines.size() >= height) break;
    lines.push_back(LineOf(node));
  }
  if (lines.size() > height) lines.resize(height);
  for (std::string& line : lines) line.resize(std::min(line.size(), width));
  return lines;
}

}  // namespace hearth::cmd
