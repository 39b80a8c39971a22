#include "oci/task_id.h"

#include <algorithm>

#include "base/digest.h"
#include "oci/task_url.h"

namespace hearth::oci {

namespace {

// What the formula of `scheme` hashes after the URL. Nothing stands between the parts.
std::string Suffix(TaskIdScheme scheme, const TaskIdInput& input) {
  const std::string labels = input.tag + input.application;
  const std::string piece_length = input.piece_length ? std::to_string(*input.piece_length) : "";
  switch (scheme) {
    case TaskIdScheme::kV1:
      return input.digest + input.range + labels;
    case TaskIdScheme::kV2_1:
      return input.digest + labels + std::to_string(input.piece_length.value_or(0));
    case TaskIdScheme::kV2_1_55:
      return input.digest + labels;
    case TaskIdScheme::kV2_1_62:
      return labels;
    case TaskIdScheme::kV2_3:
      return labels + piece_length + "STANDARD";
    case TaskIdScheme::kV2_4:
    case TaskIdScheme::kV2_5:
      return labels + input.revision + piece_length + "STANDARD";
  }
  return "";
}

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

std::string_view TaskIdSchemeName(TaskIdScheme scheme) {
  switch (scheme) {
    case TaskIdScheme::kV1:
      return "v1";
    case TaskIdScheme::kV2_1:
      return "v2.1";
    case TaskIdScheme::kV2_1_55:
      return "v2.1.55";
    case TaskIdScheme::kV2_1_62:
      return "v2.1.62";
    case TaskIdScheme::kV2_3:
      return "v2.3";
    case TaskIdScheme::kV2_4:
      return "v2.4";
    case TaskIdScheme::kV2_5:
      return "v2.5";
  }
  return "";
}

Result<TaskIdScheme> ParseTaskIdScheme(std::string_view name) {
  std::string names;
  for (const TaskIdScheme scheme : kTaskIdSchemes) {
    if (TaskIdSchemeName(scheme) == name) return scheme;
    names += (names.empty() ? "" : ", ") + std::string(TaskIdSchemeName(scheme));
  }
  return InvalidArgument("task ID scheme \"" + std::string(name.substr(0, 40)) +
                         "\" is unknown (one of " + names + ")");
}

Result<std::string> TaskUrl(TaskIdScheme scheme, const TaskIdInput& input) {
  if (input.url.empty()) return InvalidArgument("URL is empty (expected http://… or https://…)");
  const std::vector<std::string>& filter =
      input.filtered_query_params ? *input.filtered_query_params : DefaultFilteredQueryParams();
  switch (scheme) {
    case TaskIdScheme::kV2_4:
      return FilterUrlLikeClient151(input.url, filter);
    case TaskIdScheme::kV2_5:
      return FilterUrlLikeClient1510(input.url, filter);
    default:
      return FilterUrlLikeGo(input.url, filter);
  }
}

Result<std::string> TaskId(TaskIdScheme scheme, const TaskIdInput& input) {
  return Digest::Of(TRY(TaskUrl(scheme, input)) + Suffix(scheme, input)).hex();
}

std::string TaskIdOfContent(std::string_view content) { return Digest::Of(content).hex(); }

std::string PersistentTaskId(std::string_view key, std::string_view region,
                             std::string_view endpoint) {
  std::string hashed(key);
  hashed += region;
  hashed += endpoint;
  return Digest::Of(hashed + "PERSISTENT").hex();
}

std::string PersistentCacheTaskId(std::string_view bytes, const TaskIdInput& input) {
  std::string hashed = std::string(bytes) + input.tag + input.application;
  if (input.piece_length) hashed += std::to_string(*input.piece_length);
  return Digest::Of(hashed + "PERSISTENT_CACHE").hex();
}

Result<std::string> TaskIdOfBlobUrl(std::string_view url) {
  const Status no_blob = InvalidArgument("URL \"" + std::string(url.substr(0, 200)) +
                                         "\" names no blob (expected …/v2/NAME/blobs/sha256:HEX)");
  const size_t scheme = url.find("://");
  const size_t v2 = scheme == std::string_view::npos ? scheme : url.find("/v2/", scheme + 3);
  if (v2 == std::string_view::npos) return no_blob;
  std::string_view rest = url.substr(v2 + 4);
  rest = rest.substr(0, rest.find('?'));
  const size_t blobs = rest.rfind("/blobs/");
  if (blobs == std::string_view::npos || blobs == 0) return no_blob;
  const std::string_view digest = rest.substr(blobs + 7);
  const size_t colon = digest.find(':');
  if (colon == std::string_view::npos) return no_blob;
  const std::string_view algorithm = digest.substr(0, colon);
  const std::string_view encoded = digest.substr(colon + 1);
  if ((algorithm == "sha256" && IsHex(encoded, 64)) ||
      (algorithm == "sha512" && IsHex(encoded, 128)) ||
      (algorithm == "crc32" && encoded.size() == 10 &&
       std::all_of(encoded.begin(), encoded.end(), [](char c) { return c >= '0' && c <= '9'; }))) {
    return std::string(encoded);
  }
  return no_blob;
}

}  // namespace hearth::oci
