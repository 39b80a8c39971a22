#include "plugin/mirror_path.h"

#include <algorithm>

#include "net/http.h"
#include "oci/reference.h"

namespace hearth::plugin {
namespace {

constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxRegistryBytes = 255 + 6;
constexpr std::string_view kManifests = "/manifests/";
constexpr std::string_view kBlobs = "/blobs/";

bool IsDomainCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
}

// Only keeps out what could change the meaning of a URL; whether it can be reached shows later.
Result<std::string> ParseRegistry(std::string_view query, std::string_view default_registry) {
  std::string registry = net::QueryValue(query, "ns");
  if (registry.empty()) registry = default_registry;
  if (registry.empty()) {
    return NotFound(
        "which registry is meant? the request has no ns parameter (let hosts.toml name "
        "this mirror for the registry)");
  }
  if (registry.size() > kMaxRegistryBytes ||
      !std::all_of(registry.begin(), registry.end(), IsDomainCharacter)) {
    return InvalidArgument("ns is not the name of a registry host");
  }
  return oci::NormalizeDomain(registry);
}

}  // namespace

Result<MirrorPath> MirrorPath::Parse(std::string_view path, std::string_view query,
                                     std::string_view default_registry) {
  if (path == "/v2" || path == "/v2/") return MirrorPath{};
  const std::string decoded = TRY(net::PercentDecode(path));
  if (decoded.size() > kMaxPathBytes || !decoded.starts_with("/v2/")) {
    return NotFound("no such endpoint");
  }
  // From the end: a repository may have a component that is called "blobs".
  const size_t slash = decoded.rfind('/');
  const std::string_view all = decoded;
  MirrorPath result;
  size_t kind_begin = std::string::npos;
  for (const auto& [word, kind] :
       {std::pair{kManifests, Kind::kManifest}, std::pair{kBlobs, Kind::kBlob}}) {
    if (slash + 1 < 4 + word.size()) continue;
    const size_t begin = slash + 1 - word.size();
    if (all.substr(begin, word.size()) != word) continue;
    kind_begin = begin;
    result.kind = kind;
  }
  if (kind_begin == std::string::npos) return NotFound("no such endpoint");
  result.repository = all.substr(4, kind_begin - 4);
  if (!oci::IsRepositoryPath(result.repository)) {
    return InvalidArgument("not the name of a repository");
  }
  result.object = all.substr(slash + 1);
  if (result.kind == Kind::kBlob || result.object.find(':') != std::string::npos) {
    result.digest = TRY(Digest::Parse(result.object));
  } else if (!oci::IsTag(result.object)) {
    return InvalidArgument("neither a tag nor a digest");
  }
  result.registry = TRY(ParseRegistry(query, default_registry));
  return result;
}

std::string MirrorPath::ObjectPath() const {
  if (kind == Kind::kBase) return "";
  const std::string_view word = kind == Kind::kManifest ? kManifests : kBlobs;
  return std::string(word.substr(1)) + object;
}

}  // namespace hearth::plugin
