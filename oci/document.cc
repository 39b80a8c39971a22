// Manifest::Parse, Index::Parse and DocumentMediaType: one reader of descriptors serves all three.
#include <nlohmann/json.hpp>

#include "oci/index.h"
#include "oci/manifest.h"
#include "oci/media_type.h"

namespace hearth::oci {

namespace {

using nlohmann::json;

Result<json> ParseObject(std::string_view bytes) {
  if (bytes.size() > kMaxManifestBytes) {
    return ResourceExhausted("manifest: " + std::to_string(bytes.size()) +
                             " bytes are more than the limit of 4 MiB");
  }
  json document = json::parse(bytes, nullptr, false);
  if (document.is_discarded()) return InvalidArgument("manifest: is not JSON");
  if (!document.is_object()) return InvalidArgument("manifest: is no JSON object");
  return document;
}

Status Wrong(const std::string& where, std::string_view why) {
  return InvalidArgument("manifest: " + where + " " + std::string(why));
}

// A text field; "" where it is absent or null.
Result<std::string> TextField(const json& object, const char* name, const std::string& where) {
  const auto field = object.find(name);
  if (field == object.end() || field->is_null()) return std::string();
  if (!field->is_string()) return Wrong(where + "." + name, "is no text");
  return field->get<std::string>();
}

Result<std::map<std::string, std::string>> ReadAnnotations(const json& object,
                                                           const std::string& where) {
  std::map<std::string, std::string> annotations;
  const auto field = object.find("annotations");
  if (field == object.end() || field->is_null()) return annotations;
  if (!field->is_object()) return Wrong(where + ".annotations", "is no object");
  for (const auto& [key, value] : field->items()) {
    if (!value.is_string()) return Wrong(where + ".annotations[" + key + "]", "is no text");
    annotations.emplace(key, value.get<std::string>());
  }
  return annotations;
}

Result<uint64_t> ReadSize(const json& object, const std::string& where) {
  const auto field = object.find("size");
  if (field == object.end()) return Wrong(where + ".size", "is missing");
  if (!field->is_number_integer()) return Wrong(where + ".size", "is no whole number");
  if (!field->is_number_unsigned() && field->get<int64_t>() < 0) {
    return Wrong(where + ".size", "is negative");
  }
  const auto size_bytes = field->get<uint64_t>();
  if (size_bytes > kMaxDescriptorSizeBytes) {
    return Wrong(where + ".size", "of " + std::to_string(size_bytes) + " bytes is more than 1 PiB");
  }
  return size_bytes;
}

Result<std::optional<Platform>> ReadPlatform(const json& object, const std::string& where) {
  const auto field = object.find("platform");
  if (field == object.end() || field->is_null()) return std::optional<Platform>();
  if (!field->is_object()) return Wrong(where + ".platform", "is no object");
  Platform platform;
  platform.os = TRY(TextField(*field, "os", where + ".platform"));
  platform.architecture = TRY(TextField(*field, "architecture", where + ".platform"));
  platform.variant = TRY(TextField(*field, "variant", where + ".platform"));
  platform.os_version = TRY(TextField(*field, "os.version", where + ".platform"));
  return std::optional<Platform>(platform.Normalized());
}

Result<std::vector<std::string>> ReadUrls(const json& object, const std::string& where) {
  std::vector<std::string> urls;
  const auto field = object.find("urls");
  if (field == object.end() || field->is_null()) return urls;
  if (!field->is_array()) return Wrong(where + ".urls", "is no list");
  for (const json& url : *field) {
    if (!url.is_string()) return Wrong(where + ".urls", "has an entry that is no text");
    urls.push_back(url.get<std::string>());
  }
  return urls;
}

Result<Descriptor> ReadDescriptor(const json& object, const std::string& where) {
  if (!object.is_object()) return Wrong(where, "is no object");
  Descriptor descriptor;
  descriptor.media_type = TRY(TextField(object, "mediaType", where));
  const std::string digest = TRY(TextField(object, "digest", where));
  if (digest.empty()) return Wrong(where + ".digest", "is missing");
  descriptor.digest = TRY(Digest::Parse(digest).Annotate("manifest: " + where + ".digest"));
  descriptor.size_bytes = TRY(ReadSize(object, where));
  descriptor.annotations = TRY(ReadAnnotations(object, where));
  descriptor.urls = TRY(ReadUrls(object, where));
  descriptor.platform = TRY(ReadPlatform(object, where));
  return descriptor;
}

Result<std::vector<Descriptor>> ReadDescriptors(const json& document, const std::string& name) {
  std::vector<Descriptor> descriptors;
  const auto field = document.find(name);
  if (field == document.end() || field->is_null()) return descriptors;
  if (!field->is_array()) return Wrong(name, "is no list");
  if (field->size() > kMaxDescriptors) {
    return ResourceExhausted("manifest: " + std::to_string(field->size()) + " " + name +
                             " are more than the limit of " + std::to_string(kMaxDescriptors));
  }
  for (size_t i = 0; i < field->size(); ++i) {
    descriptors.push_back(TRY(ReadDescriptor((*field)[i], name + "[" + std::to_string(i) + "]")));
  }
  return descriptors;
}

bool Holds(const json& document, const char* name) {
  const auto field = document.find(name);
  return field != document.end() && !field->is_null();
}

Status Schema1() {
  return Unimplemented(
      "manifest: is Docker schema 1, which Hearth does not read (push the image again with a "
      "current docker, skopeo or buildkit)");
}

// A document that could be read as two kinds is refused: whoever signed it meant one of them.
Result<std::string> TypeOf(const json& document, std::string_view content_type) {
  const std::string_view declared = WithoutParameters(content_type);
  const std::string inner = TRY(TextField(document, "mediaType", "document"));
  if (IsSchema1Type(declared) || IsSchema1Type(inner)) return Schema1();
  const auto version = document.find("schemaVersion");
  if (version != document.end() && *version == 1) return Schema1();
  const bool like_index = Holds(document, "manifests");
  const bool like_manifest = Holds(document, "config") || Holds(document, "layers");
  if (like_index && like_manifest) {
    return InvalidArgument("manifest: has both manifests and layers, so its kind is ambiguous");
  }
  std::string type = inner;
  const bool declares = IsIndexType(declared) || IsManifestType(declared);
  if (declares) {
    if (!inner.empty() && inner != declared) {
      return InvalidArgument("manifest: the registry calls it " + std::string(declared) +
                             ", the document itself " + inner);
    }
    type = declared;
  }
  if (type.empty()) {
    if (!like_index && !like_manifest) {
      return InvalidArgument(
          "manifest: is neither a manifest nor an index (the registry calls it " +
          std::string(declared.empty() ? "nothing" : declared) + ")");
    }
    type = like_index ? kOciIndex : kOciManifest;
  }
  if (!IsIndexType(type) && !IsManifestType(type)) {
    return InvalidArgument("manifest: has the media type " + type +
                           ", which is neither a manifest nor an index");
  }
  if (IsIndexType(type) ? like_manifest : like_index) {
    return InvalidArgument("manifest: is called " + type + " but has the fields of the other kind");
  }
  return type;
}

Status CheckSchemaVersion(const json& document) {
  const auto version = document.find("schemaVersion");
  if (version == document.end() || *version == 2) return OkStatus();
  return InvalidArgument("manifest: schemaVersion is " + version->dump().substr(0, 40) +
                         ", expected 2");
}

}  // namespace

Result<std::string> DocumentMediaType(std::string_view bytes, std::string_view content_type) {
  if (IsSchema1Type(WithoutParameters(content_type))) return Schema1();
  return TypeOf(TRY(ParseObject(bytes)), content_type);
}

Result<Manifest> Manifest::Parse(std::string_view bytes, std::string_view media_type) {
  if (IsSchema1Type(WithoutParameters(media_type))) return Schema1();
  const json document = TRY(ParseObject(bytes));
  Manifest manifest;
  manifest.media_type = TRY(TypeOf(document, media_type));
  if (!IsManifestType(manifest.media_type)) {
    return InvalidArgument("manifest: is an index (" + manifest.media_type + ")");
  }
  TRY_STATUS(CheckSchemaVersion(document));
  const auto config = document.find("config");
  if (config == document.end()) return Wrong("config", "is missing");
  manifest.config = TRY(ReadDescriptor(*config, "config"));
  manifest.layers = TRY(ReadDescriptors(document, "layers"));
  manifest.annotations = TRY(ReadAnnotations(document, "document"));
  return manifest;
}

Result<Index> Index::Parse(std::string_view bytes, std::string_view media_type) {
  if (IsSchema1Type(WithoutParameters(media_type))) return Schema1();
  const json document = TRY(ParseObject(bytes));
  Index index;
  index.media_type = TRY(TypeOf(document, media_type));
  if (!IsIndexType(index.media_type)) {
    return InvalidArgument("manifest: is no index (" + index.media_type + ")");
  }
  TRY_STATUS(CheckSchemaVersion(document));
  index.manifests = TRY(ReadDescriptors(document, "manifests"));
  index.annotations = TRY(ReadAnnotations(document, "document"));
  return index;
}

}  // namespace hearth::oci
