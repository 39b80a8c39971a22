// PullJob: what an ImagePrePullJob asks for, read from KubeEdge's documents of both versions.
//
// A plain value; any thread. Field names, defaults and meaning: docs/api.md, "Pull jobs".
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "manager/failure_tolerance.h"
#include "manager/label_selector.h"
#include "manager/yaml_object.h"

namespace hearth::manager {

struct PullJob {
  enum class Check { kCpu, kMemory, kDisk };

  std::string name;
  std::map<std::string, std::string> labels;
  std::vector<std::string> images;      // references as written; never empty, none twice
  std::vector<std::string> node_names;  // none twice; empty where the selector is given
  std::optional<LabelSelector> node_selector;
  std::vector<Check> checks = {Check::kDisk};
  FailureTolerance failure_tolerate = FailureTolerance::Default();
  uint32_t concurrency = 1;           // nodes at once
  std::chrono::seconds timeout{300};  // of one node, from its dispatch
  uint32_t retries = 0;               // of one image, beyond the first attempt
  std::vector<std::string> secrets;   // "namespace/name"
  bool pin = false;                   // kept from the kubelet's image garbage collection

  // A document whose kind is ImagePrePullJob. What is wrong is told to the document's problems.
  static PullJob Read(YamlObject& document);

  friend bool operator==(const PullJob&, const PullJob&) = default;
};

}  // namespace hearth::manager
