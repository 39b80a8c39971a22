// Any bytes as the headers of an origin and of a client (fields in lines, an empty line between the
// two): what names a version of the file goes through its record unharmed, and an answer to the
// client stays within the file. And as such a record.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "plugin/byte_range.h"
#include "plugin/file_answer.h"
#include "plugin/file_version.h"

namespace {

using namespace hearth;          // NOLINT: one file
using namespace hearth::plugin;  // NOLINT

// Up to an empty line, which is taken too.
net::HttpHeaders ReadHeaders(std::string_view& text) {
  net::HttpHeaders headers;
  while (!text.empty()) {
    const std::string_view field = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), field.size() + 1));
    if (field.empty()) break;
    const size_t colon = field.find(": ");
    if (colon == std::string_view::npos) continue;
    headers.Add(std::string(field.substr(0, colon)), std::string(field.substr(colon + 2)));
  }
  return headers;
}

void Answer(const net::HttpHeaders& asked, const FileVersion& version) {
  const FileAnswer answer = FileAnswer::To(asked, version, version.size_bytes);
  const int status = answer.response.status;
  CHECK(status == 200 || status == 206 || status == 304 || status == 416);
  CHECK((status == 206) == answer.range.has_value());
  if (answer.range) {
    CHECK(answer.range->begin_bytes < answer.range->end_bytes);
    CHECK(answer.range->end_bytes <= version.size_bytes);
  }
  (void)HasPreconditions(asked);
  (void)RangeBegin(asked);
}

}  // namespace

// It says of each text that is no UTF-8 that it is none.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto task = FileTask::Decode(text); task.ok()) {
    CHECK(FileTask::Decode(task->Encode()).ok());
  }
  const net::HttpHeaders told = ReadHeaders(text);
  const net::HttpHeaders asked = ReadHeaders(text);
  for (const int status : {200, 206}) {
    const auto version = FileVersion::Of({status, told, "http://o/f"}, 0);
    if (!version.ok()) continue;
    if (version->digest) CHECK(version->Matches(*version));
    Answer(asked, *version);
    FileTask task;
    task.complete = task.partial = *version;
    const auto again = FileTask::Decode(task.Encode());
    // Only text goes into a record.
    if (again.ok()) CHECK(again->complete.etag == version->etag);
  }
  return 0;
}
