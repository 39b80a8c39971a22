#include "cmd/ctr.h"

#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "cmd/subprocess.h"

namespace hearth::cmd {

namespace {

constexpr std::chrono::seconds kLimit{10};

}  // namespace

std::vector<ContainerdPlugin> ParsePlugins(const std::string& printed) {
  std::vector<ContainerdPlugin> plugins;
  std::istringstream lines(printed);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    ContainerdPlugin plugin;
    words >> plugin.type >> plugin.id;
    std::string word;
    while (words >> word) plugin.status = word;  // after the platforms
    if (plugin.type.starts_with("io.")) plugins.push_back(std::move(plugin));
  }
  return plugins;
}

std::map<std::string, std::string> ParseNamespaceLabels(const std::string& printed,
                                                        const std::string& label) {
  std::map<std::string, std::string> values;
  std::istringstream lines(printed);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string name;
    std::string labels;
    words >> name >> labels;
    std::istringstream pairs(labels);
    std::string pair;
    while (std::getline(pairs, pair, ',')) {
      if (pair.starts_with(label + "=")) values[name] = pair.substr(label.size() + 1);
    }
  }
  return values;
}

Result<std::string> Ctr::Run(const std::vector<std::string>& arguments) const {
  std::vector<std::string> argv = {"ctr", "--address", address_};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const ProgramResult result = TRY(RunProgram(argv, kLimit));
  if (result.exit_code == 0) return result.out;
  std::string why = result.err.substr(0, result.err.find_last_not_of('\n') + 1);
  why = why.substr(why.rfind('\n') + 1);
  return Unavailable("containerd at " + address_ + ": " + why);
}

Result<std::vector<ContainerdPlugin>> Ctr::Plugins() const {
  return ParsePlugins(TRY(Run({"plugins", "ls"})));
}

Result<std::map<std::string, std::string>> Ctr::NamespaceLabels(const std::string& label) const {
  return ParseNamespaceLabels(TRY(Run({"namespaces", "ls"})), label);
}

Result<std::vector<std::string>> Ctr::ContainersOf(const std::string& snapshotter) const {
  std::vector<std::string> found;
  std::istringstream namespaces(TRY(Run({"namespaces", "ls", "-q"})));
  std::string name;
  while (namespaces >> name) {
    std::istringstream containers(TRY(Run({"-n", name, "containers", "ls", "-q"})));
    std::string id;
    while (containers >> id) {
      const auto info = Run({"-n", name, "containers", "info", id});
      if (!info.ok()) continue;  // it ended since
      const auto document = nlohmann::json::parse(*info, nullptr, /*allow_exceptions=*/false);
      if (!document.is_object() || document.value("Snapshotter", "") != snapshotter) continue;
      found.push_back(name + ": " + id);
    }
  }
  return found;
}

Status Ctr::LabelNamespace(const std::string& name, const std::string& label,
                           const std::string& value) const {
  const std::string pair = label + "=" + value;
  // Fails where it is there already; labelling then does the work.
  if (!value.empty() && Run({"namespaces", "create", name, pair}).ok()) return OkStatus();
  return Run({"namespaces", "label", name, pair}).status();
}

}  // namespace hearth::cmd
