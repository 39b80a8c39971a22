#include "plugin/file_version.h"

#include <charconv>

#include "plugin/task_record.pb.h"

namespace hearth::plugin {
namespace {

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "bytes 100-199/200" or "bytes 100-199/*".
struct ContentRange {
  uint64_t begin_bytes;
  std::optional<uint64_t> total_bytes;
};
std::optional<ContentRange> ParseContentRange(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) {
    return std::nullopt;
  }
  const auto begin = ParseNumber(text.substr(0, dash));
  if (!begin) return std::nullopt;
  return ContentRange{*begin, ParseNumber(text.substr(slash + 1))};
}

void Encode(const FileVersion& version, record::Version& out) {
  out.set_etag(version.etag);
  out.set_last_modified(version.last_modified);
  if (version.size_bytes) out.set_size_bytes(*version.size_bytes);
}

FileVersion Decode(const record::Version& in) {
  FileVersion version{.etag = in.etag(), .last_modified = in.last_modified(), .size_bytes = {}};
  if (in.has_size_bytes()) version.size_bytes = in.size_bytes();
  return version;
}

}  // namespace

Result<FileVersion> FileVersion::Of(const net::HttpResponseHead& head, uint64_t offset_bytes) {
  FileVersion version{.etag = std::string(head.headers.Get("ETag")),
                      .last_modified = std::string(head.headers.Get("Last-Modified")),
                      .size_bytes = ParseNumber(head.headers.Get("Content-Length"))};
  if (head.status != 206) return version;
  const auto range = ParseContentRange(head.headers.Get("Content-Range"));
  if (!range || range->begin_bytes != offset_bytes) {
    return Unavailable("the server sent another part than the one that was asked for");
  }
  version.size_bytes = range->total_bytes;
  return version;
}

bool FileVersion::Matches(const FileVersion& other) const {
  if (size_bytes && other.size_bytes && *size_bytes != *other.size_bytes) return false;
  if (!etag.empty() || !other.etag.empty()) return etag == other.etag;
  return !last_modified.empty() && last_modified == other.last_modified && size_bytes.has_value() &&
         other.size_bytes.has_value();
}

std::string FileVersion::Validator() const {
  if (!etag.empty()) return etag.starts_with("W/") ? "" : etag;
  return last_modified;
}

std::string FileTask::Encode() const {
  record::Task out;
  out.set_url(url);
  if (digest) out.set_digest(digest->ToString());
  plugin::Encode(complete, *out.mutable_complete());
  plugin::Encode(partial, *out.mutable_partial());
  return out.SerializeAsString();
}

Result<FileTask> FileTask::Decode(std::string_view text) {
  record::Task in;
  if (!in.ParseFromArray(text.data(), static_cast<int>(text.size()))) {
    return DataLoss("not the record of a file");
  }
  FileTask task;
  task.url = in.url();
  if (!in.digest().empty()) task.digest = TRY(Digest::Parse(in.digest()));
  task.complete = plugin::Decode(in.complete());
  task.partial = plugin::Decode(in.partial());
  return task;
}

}  // namespace hearth::plugin
