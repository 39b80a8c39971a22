// PullSecret: credentials of registries as a Kubernetes Secret carries them.
//
// A plain value; any thread. It is never printed: its content is a Secret<>.
#pragma once

#include <string>

#include "base/log.h"
#include "base/status.h"
#include "manager/yaml_object.h"

namespace hearth::manager {

struct PullSecret {
  std::string name;                   // "namespace/name"
  Secret<std::string> docker_config;  // JSON that oci::DockerConfig reads

  // A document whose kind is Secret, of type kubernetes.io/dockerconfigjson or …/dockercfg, with
  // `data` or `stringData`. What is wrong is told to the document's problems, never the content.
  static PullSecret Read(YamlObject& document);
  // The content of a file: a docker config, or the older form without "auths". kInvalidArgument:
  // neither.
  static Result<PullSecret> FromDockerConfig(const std::string& name, const std::string& json);
};

}  // namespace hearth::manager
