#include "plugin/file_answer.h"

#include <algorithm>

#include "net/http_head.h"

namespace hearth::plugin {
namespace {

std::string_view Opaque(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  return etag;
}

// The client has this version already.
bool NotModified(const net::HttpHeaders& asked, const FileVersion& version) {
  if (asked.Has("If-None-Match")) {
    for (std::string_view list : asked.GetAll("If-None-Match")) {
      while (!list.empty()) {
        std::string_view etag = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), etag.size() + 1));
        while (etag.starts_with(' ')) etag.remove_prefix(1);
        while (etag.ends_with(' ')) etag.remove_suffix(1);
        if (etag == "*") return true;
        if (!version.etag.empty() && Opaque(etag) == Opaque(version.etag)) return true;
      }
    }
    return false;
  }
  const auto since = net::ParseHttpDate(asked.Get("If-Modified-Since"));
  const auto modified = net::ParseHttpDate(version.last_modified);
  return since && modified && *modified <= *since;
}

bool RangesHold(const net::HttpHeaders& asked, const FileVersion& version) {
  const std::string_view if_range = asked.Get("If-Range");
  if (if_range.empty()) return true;
  if (if_range.starts_with('"')) return if_range == version.etag;
  return !version.last_modified.empty() && if_range == version.last_modified;
}

}  // namespace

FileAnswer FileAnswer::To(const net::HttpHeaders& asked, const FileVersion& version,
                          std::optional<uint64_t> total_bytes) {
  FileAnswer answer;
  net::ServerResponse& response = answer.response;
  if (!version.etag.empty()) response.headers.Add("ETag", version.etag);
  if (!version.last_modified.empty()) response.headers.Add("Last-Modified", version.last_modified);
  if (NotModified(asked, version)) {
    response.status = 304;
    return answer;
  }
  for (const auto& [name, value] : version.headers.fields()) response.headers.Add(name, value);
  answer.has_body = true;
  if (!total_bytes) return answer;
  response.headers.Add("Accept-Ranges", "bytes");
  response.content_length = *total_bytes;
  const auto range =
      ByteRange::Parse(RangesHold(asked, version) ? asked.Get("Range") : "", *total_bytes);
  if (!range.ok()) {
    response.status = 416;
    response.headers.Set("Content-Range", "bytes */" + std::to_string(*total_bytes));
    response.content_length = 0;
    answer.has_body = false;
  } else if (range->has_value()) {
    answer.range = **range;
    response.status = 206;
    response.headers.Set("Content-Range", answer.range->ContentRange(*total_bytes));
    response.content_length = answer.range->size_bytes();
  }
  return answer;
}

bool HasPreconditions(const net::HttpHeaders& asked) {
  return asked.Has("If-Match") || asked.Has("If-Unmodified-Since");
}

uint64_t RangeBegin(const net::HttpHeaders& asked) {
  const std::string_view header = asked.Get("Range");
  if (header.starts_with("bytes=-")) return UINT64_MAX;
  const auto range = ByteRange::Parse(header, UINT64_MAX);
  return range.ok() && *range ? (*range)->begin_bytes : 0;
}

}  // namespace hearth::plugin
