#include "plugin/file_version.h"

#include <algorithm>
#include <array>

#include "base/base64.h"
#include "plugin/task_record.pb.h"

namespace hearth::plugin {
namespace {

constexpr std::string_view kKeptHeaders[] = {
    "Content-Type",     "Content-Disposition", "Content-Encoding", "Content-Language",
    "Content-Location", "Cache-Control",       "Expires"};
constexpr size_t kMaxHeaderBytes = 1024;

net::HttpHeaders KeptHeaders(const net::HttpHeaders& headers) {
  net::HttpHeaders kept;
  for (const std::string_view name : kKeptHeaders) {
    const std::string_view value = headers.Get(name);
    if (!value.empty() && value.size() <= kMaxHeaderBytes) {
      kept.Add(std::string(name), std::string(value));
    }
  }
  return kept;
}

std::optional<Digest> DigestOfBase64(std::string_view text) {
  const auto bytes = DecodeBase64(text);
  if (!bytes.ok() || bytes->size() != Digest::kBytes) return std::nullopt;
  std::array<uint8_t, Digest::kBytes> digest{};
  std::copy_n(bytes->begin(), digest.size(), digest.begin());
  return Digest(digest);
}

// What follows "sha-256=" among the members of a list, in any case; colons of RFC 9530 left out.
std::string_view Sha256Member(std::string_view list) {
  while (!list.empty()) {
    std::string_view member = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), member.size() + 1));
    while (member.starts_with(' ')) member.remove_prefix(1);
    constexpr std::string_view kName = "sha-256=";
    const bool named = member.size() > kName.size() &&
                       std::equal(kName.begin(), kName.end(), member.begin(), [](char a, char b) {
                         return a == (b >= 'A' && b <= 'Z' ? b + 32 : b);
                       });
    if (!named) continue;
    member.remove_prefix(kName.size());
    if (member.starts_with(':') && member.ends_with(':') && member.size() > 1) {
      member = member.substr(1, member.size() - 2);
    }
    return member;
  }
  return {};
}

// RFC 9530, its forerunner, and S3's checksum of a whole object.
std::optional<Digest> AnnouncedDigest(const net::HttpHeaders& headers) {
  // An encoded body has another digest than the one that some servers announce for the file.
  if (!headers.Get("Content-Encoding").empty()) return std::nullopt;
  for (const char* name : {"Repr-Digest", "Digest"}) {
    if (auto digest = DigestOfBase64(Sha256Member(headers.Get(name)))) return digest;
  }
  return DigestOfBase64(headers.Get("x-amz-checksum-sha256"));
}

void Encode(const FileVersion& version, record::Version& out) {
  if (version.digest) out.set_digest(version.digest->ToString());
  for (const auto& [name, value] : version.headers.fields()) {
    auto* header = out.add_headers();
    header->set_name(name);
    header->set_value(value);
  }
  out.set_etag(version.etag);
  out.set_last_modified(version.last_modified);
  if (version.size_bytes) out.set_size_bytes(*version.size_bytes);
}

FileVersion Decode(const record::Version& in) {
  FileVersion version{.etag = in.etag(), .last_modified = in.last_modified(), .size_bytes = {}};
  if (in.has_size_bytes()) version.size_bytes = in.size_bytes();
  if (const auto digest = Digest::Parse(in.digest()); digest.ok()) version.digest = *digest;
  for (const auto& header : in.headers()) version.headers.Add(header.name(), header.value());
  return version;
}

}  // namespace

Result<FileVersion> FileVersion::Of(const net::HttpResponseHead& head, uint64_t offset_bytes) {
  FileVersion version{.etag = std::string(head.headers.Get("ETag")),
                      .last_modified = std::string(head.headers.Get("Last-Modified")),
                      .size_bytes = net::ContentLength(head.headers),
                      .digest = AnnouncedDigest(head.headers),
                      .headers = KeptHeaders(head.headers)};
  if (head.status != 206) return version;
  const auto range = net::ContentRange::Parse(head.headers.Get("Content-Range"));
  if (!range || range->begin_bytes != offset_bytes) {
    return Unavailable("the server sent another part than the one that was asked for");
  }
  version.size_bytes = range->total_bytes;
  return version;
}

FileVersion FileVersion::OfEmpty(const net::HttpResponseHead& head) {
  return {.etag = std::string(head.headers.Get("ETag")),
          .last_modified = std::string(head.headers.Get("Last-Modified")),
          .size_bytes = 0};
}

bool FileVersion::Matches(const FileVersion& other) const {
  if (digest && other.digest) return *digest == *other.digest;
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
  out.set_key(key);
  for (const std::string& parameter : filter) out.add_filter(parameter);
  out.set_tag(tag);
  out.set_application(application);
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
  task.key = in.key();
  task.filter.assign(in.filter().begin(), in.filter().end());
  task.tag = in.tag();
  task.application = in.application();
  if (!in.digest().empty()) task.digest = TRY(Digest::Parse(in.digest()));
  task.complete = plugin::Decode(in.complete());
  task.partial = plugin::Decode(in.partial());
  return task;
}

}  // namespace hearth::plugin
