// The YAML or JSON of pull jobs and secrets, as a client posts it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "manager/kube_documents.h"
#include "oci/credentials.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto documents = hearth::manager::KubeDocuments::Parse(
      std::string_view(reinterpret_cast<const char*>(data), size));
  if (!documents.ok()) return 0;
  for (const auto& secret : documents->secrets) {
    const auto config = hearth::oci::DockerConfig::Parse(secret.docker_config.Reveal());
    CHECK(config.ok());
    (void)config->For("registry.example.com:5000", "team/app");
  }
  for (const auto& job : documents->jobs) CHECK(!job.images.empty());
  return 0;
}
