// FileVersion: what names one version of a file at its origin; FileTask: what we keep of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"
#include "net/http_client.h"

namespace hearth::plugin {

struct FileVersion {
  std::string etag;           // as sent, "" = none
  std::string last_modified;  // as sent, "" = none
  std::optional<uint64_t> size_bytes;

  // Of a 200 or 206. kUnavailable: a 206 that does not begin at `offset_bytes`.
  static Result<FileVersion> Of(const net::HttpResponseHead& head, uint64_t offset_bytes);

  // Both name the same bytes, as far as an origin can say so.
  bool Matches(const FileVersion& other) const;
  // For If-Range: a strong ETag, else the date; "" = a part of this version cannot be asked for.
  std::string Validator() const;
};

struct FileTask {
  std::string url;               // without what is secret
  std::optional<Digest> digest;  // of the complete file
  FileVersion complete;
  FileVersion partial;  // what the bytes of the ingest are of

  std::string Encode() const;
  // kDataLoss.
  static Result<FileTask> Decode(std::string_view record);
};

}  // namespace hearth::plugin
