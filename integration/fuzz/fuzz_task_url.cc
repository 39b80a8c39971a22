// Any text as a URL: rewritten or refused; what the standard wrote once it writes the same again.
#include <cstdint>
#include <string>

#include "oci/task_id.h"
#include "oci/task_url.h"
#include "oci/whatwg_url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string url(reinterpret_cast<const char*>(data), size);
  const auto standard = hearth::oci::WhatwgUrl::Parse(url);
  if (standard.ok()) {
    const std::string text = standard->ToString();
    CHECK(hearth::oci::WhatwgUrl::Parse(text)->ToString() == text);
  }
  const std::vector<std::string> filter = {"x", "ns"};
  (void)hearth::oci::FilterUrlLikeGo(url, filter);
  (void)hearth::oci::FilterUrlLikeClient151(url, filter);
  (void)hearth::oci::FilterUrlLikeClient1510(url, filter);
  (void)hearth::oci::TaskIdOfBlobUrl(url);
  return 0;
}
