#include "oci/config.h"

#include <nlohmann/json.hpp>

#include "oci/manifest.h"

namespace hearth::oci {

namespace {

using nlohmann::json;

Result<std::string> TextField(const json& object, const char* name) {
  const auto field = object.find(name);
  if (field == object.end() || field->is_null()) return std::string();
  if (!field->is_string()) {
    return InvalidArgument("image config: " + std::string(name) + " is no text");
  }
  return field->get<std::string>();
}

Result<std::vector<Digest>> ReadDiffIds(const json& document) {
  const auto rootfs = document.find("rootfs");
  if (rootfs == document.end() || !rootfs->is_object()) {
    return InvalidArgument("image config: rootfs is missing (is it an artifact, not an image?)");
  }
  std::vector<Digest> diff_ids;
  const auto list = rootfs->find("diff_ids");
  if (list == rootfs->end() || list->is_null()) return diff_ids;
  if (!list->is_array()) return InvalidArgument("image config: rootfs.diff_ids is no list");
  if (list->size() > kMaxDescriptors) {
    return ResourceExhausted("image config: more than " + std::to_string(kMaxDescriptors) +
                             " diff IDs");
  }
  for (const json& entry : *list) {
    const std::string where =
        "image config: rootfs.diff_ids[" + std::to_string(diff_ids.size()) + "]";
    if (!entry.is_string()) return InvalidArgument(where + " is no text");
    diff_ids.push_back(TRY(Digest::Parse(entry.get_ref<const std::string&>()).Annotate(where)));
  }
  return diff_ids;
}

}  // namespace

Result<ImageConfig> ImageConfig::Parse(std::string_view bytes) {
  if (bytes.size() > kMaxConfigBytes) {
    return ResourceExhausted("image config: " + std::to_string(bytes.size()) +
                             " bytes are more than the limit of 8 MiB");
  }
  const json document = json::parse(bytes, nullptr, false);
  if (document.is_discarded()) return InvalidArgument("image config: is not JSON");
  if (!document.is_object()) return InvalidArgument("image config: is no JSON object");
  ImageConfig config;
  config.platform.os = TRY(TextField(document, "os"));
  config.platform.architecture = TRY(TextField(document, "architecture"));
  config.platform.variant = TRY(TextField(document, "variant"));
  config.platform.os_version = TRY(TextField(document, "os.version"));
  config.platform = config.platform.Normalized();
  config.diff_ids = TRY(ReadDiffIds(document));
  return config;
}

}  // namespace hearth::oci
