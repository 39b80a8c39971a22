// Any request line and Range header for the mirror: what is accepted cannot leave /v2/ or its host.
#include <cstdint>
#include <string>
#include <string_view>

#include "oci/reference.h"
#include "plugin/byte_range.h"
#include "plugin/mirror_path.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using hearth::plugin::MirrorPath;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t mark = text.find('?');
  const std::string_view query = mark == std::string_view::npos ? "" : text.substr(mark + 1);
  const auto path = MirrorPath::Parse(text.substr(0, mark), query, "docker.io");
  if (path.ok() && path->kind != MirrorPath::Kind::kBase) {
    CHECK(hearth::oci::IsRepositoryPath(path->repository));
    CHECK(path->digest.has_value() || hearth::oci::IsTag(path->object));
    CHECK(path->registry.find_first_of("/?#@ \r\n") == std::string::npos);
    const std::string sent = "/v2/" + path->repository + "/" + path->ObjectPath();
    const auto again = MirrorPath::Parse(sent, "", path->registry);
    CHECK(again.ok() && again->repository == path->repository && again->object == path->object);
  }
  const auto range = hearth::plugin::ByteRange::Parse(text, 1000);
  if (range.ok() && *range) {
    CHECK((*range)->begin_bytes < (*range)->end_bytes && (*range)->end_bytes <= 1000);
  }
  return 0;
}
