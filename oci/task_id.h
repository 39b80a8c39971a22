// Task IDs: what a URL is known as to the job API, exactly as Dragonfly computes it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::oci {

// One per formula; the name is the first Dragonfly release that hashed so.
enum class TaskIdScheme : uint8_t { kV1, kV2_1, kV2_1_55, kV2_1_62, kV2_3, kV2_4, kV2_5 };
inline constexpr std::array kTaskIdSchemes = {
    TaskIdScheme::kV1,   TaskIdScheme::kV2_1, TaskIdScheme::kV2_1_55, TaskIdScheme::kV2_1_62,
    TaskIdScheme::kV2_3, TaskIdScheme::kV2_4, TaskIdScheme::kV2_5};
// The seed documents' scheme.
inline constexpr TaskIdScheme kDefaultTaskIdScheme = TaskIdScheme::kV2_1;

// "v1", "v2.1", "v2.1.55", …
std::string_view TaskIdSchemeName(TaskIdScheme scheme);
// kInvalidArgument lists the names.
Result<TaskIdScheme> ParseTaskIdScheme(std::string_view name);

// Empty texts and absent values hash as nothing. Each scheme takes only what its formula has.
struct TaskIdInput {
  std::string url;
  std::string digest;  // v1, v2.1, v2.1.55
  std::string tag;
  std::string application;
  std::string revision;                  // v2.4, v2.5: of a model hub
  std::string range;                     // v1: "0-1023"
  std::optional<uint64_t> piece_length;  // bytes; v2.1 hashes "0" where it is absent
  // nullopt = DefaultFilteredQueryParams().
  std::optional<std::vector<std::string>> filtered_query_params;
};

// The URL as `scheme` hashes it.
Result<std::string> TaskUrl(TaskIdScheme scheme, const TaskIdInput& input);
// 64 lower-case hex digits.
Result<std::string> TaskId(TaskIdScheme scheme, const TaskIdInput& input);
// Where a request carries content_for_calculating_task_id: the sha256 of that text.
std::string TaskIdOfContent(std::string_view content);
// Of an object in an object store that Dragonfly keeps.
std::string PersistentTaskId(std::string_view key, std::string_view region,
                             std::string_view endpoint);
// Of bytes that a client put into Dragonfly's cache; tag, application and piece length of `input`.
std::string PersistentCacheTaskId(std::string_view bytes, const TaskIdInput& input);
// Where blob-digest IDs are on: the encoded part of the digest in ".../v2/NAME/blobs/ALG:HEX".
// kInvalidArgument for any other URL.
Result<std::string> TaskIdOfBlobUrl(std::string_view url);

}  // namespace hearth::oci
