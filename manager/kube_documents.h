// KubeDocuments: a stream of Kubernetes documents, as `hearth prepull -f` and the API take it: pull
// jobs, and the secrets that they name.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "manager/pull_job.h"
#include "manager/pull_secret.h"

namespace hearth::manager {

struct KubeDocuments {
  std::vector<PullJob> jobs;
  std::vector<PullSecret> secrets;

  // YAML or JSON, also a `kind: List`. kInvalidArgument names every problem with its line, one per
  // line; kResourceExhausted: larger than YamlObject::kMaxBytes.
  static Result<KubeDocuments> Parse(std::string_view text);
};

}  // namespace hearth::manager
