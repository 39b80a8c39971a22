#include <filesystem>
#include <iostream>

#include "cmd/commands.h"
#include "cmd/containerd_checks.h"
#include "cmd/finding.h"
#include "cmd/machine_checks.h"
#include "cmd/mirror_checks.h"
#include "cmd/node_checks.h"

namespace hearth::cmd {

int RunDoctor(const Common& common, const DoctorArgs& args) {
  Common located = common;
  const std::string file = args.root_prefix + config::kDefaultNodeConfigFile;
  if (located.config_file.empty() && std::filesystem::exists(file)) located.config_file = file;
  const auto config = LoadConfig(located);
  if (!config.ok()) return Fail("doctor", config.status());

  Findings findings;
  const auto node = CheckNode(*config, findings);
  const auto containerd = CheckContainerd(
      {.config = *config, .prefix = args.root_prefix, .node_answers = node.has_value()}, findings);
  CheckMirror(
      {.config = *config, .prefix = args.root_prefix, .containerd = containerd, .node = node},
      findings);
  CheckMachine({.config = *config, .prefix = args.root_prefix, .registry = args.registry},
               findings);
  if (common.json) {
    std::cout << findings.Json() << "\n";
  } else if (!common.quiet) {
    std::cout << findings.Text();
  }
  return findings.AnyFailed() ? kFailed : kDone;
}

}  // namespace hearth::cmd
