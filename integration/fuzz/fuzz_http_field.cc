// Any bytes as a header field of an answer: lengths, ranges and dates are read or not there.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http.h"
#include "net/http_head.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hearth::net;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto range = ContentRange::Parse(text);
  if (range) CHECK(text.find(std::to_string(range->begin_bytes)) != text.npos);
  const auto length = ContentLength({{"Content-Length", std::string(text)}});
  if (length) CHECK(text.find(std::to_string(*length)) != text.npos);
  const auto date = ParseHttpDate(text);
  if (date && *date >= 0) CHECK(ParseHttpDate(HttpDate(*date)) == date);
  return 0;
}
