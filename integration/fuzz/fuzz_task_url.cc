// Any text as a URL: rewritten or refused, and what the standard's rule wrote it leaves alone.
#include <cstdint>
#include <string>

#include "oci/task_id.h"
#include "oci/task_url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string url(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> filter = {"x", "ns"};
  const auto standard = hearth::oci::FilterUrlLikeClient151(url, filter);
  if (standard.ok()) {
    CHECK(*hearth::oci::FilterUrlLikeClient151(*standard, filter) == *standard);
  }
  (void)hearth::oci::FilterUrlLikeGo(url, filter);
  (void)hearth::oci::FilterUrlLikeClient1510(url, filter);
  (void)hearth::oci::TaskIdOfBlobUrl(url);
  return 0;
}
