// FileVersion: what names one version of a file at its origin; FileTask: what we keep of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "net/http_client.h"

namespace hearth::plugin {

struct FileVersion {
  std::string etag;           // as sent, "" = none
  std::string last_modified;  // as sent, "" = none
  std::optional<uint64_t> size_bytes;
  // Announced by the origin (Repr-Digest, Digest, an object store's checksum).
  std::optional<Digest> digest = std::nullopt;
  // Content-Type and the like, as sent, for those who get the file from us; no part of what
  // Matches() compares.
  net::HttpHeaders headers = {};

  // Of a 200 or 206. kUnavailable: a 206 that does not begin at `offset_bytes`.
  static Result<FileVersion> Of(const net::HttpResponseHead& head, uint64_t offset_bytes);

  // Of the whole file that a 416 to "bytes=0-0" speaks of: one of no byte.
  static FileVersion OfEmpty(const net::HttpResponseHead& head);

  // Both name the same bytes, as far as an origin can say so.
  bool Matches(const FileVersion& other) const;
  // For If-Range: a strong ETag, else the date; "" = a part of this version cannot be asked for.
  std::string Validator() const;
};

struct FileTask {
  std::string url;  // without what is secret
  std::string key;  // FileName::Key() under `filter`
  std::vector<std::string> filter;
  std::string tag;
  std::string application;
  std::optional<Digest> digest;  // of the complete file
  FileVersion complete;
  FileVersion partial;  // what the bytes of the ingest are of

  std::string Encode() const;
  // kDataLoss.
  static Result<FileTask> Decode(std::string_view record);
};

}  // namespace hearth::plugin
