#include "plugin/tar_pax.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace hearth::plugin {
namespace {

constexpr int64_t kLeastRecordBytes = 5;  // "5 k=\n"
constexpr long kNanosecondsPerSecond = 1'000'000'000;

// Takes one line off the front of `left`.
std::optional<std::pair<std::string_view, std::string_view>> TakeRecord(std::string_view& left) {
  const size_t space = left.find(' ');
  if (space == left.npos) return std::nullopt;
  const auto length = ParseDecimal(left.substr(0, space));
  if (!length || *length < kLeastRecordBytes || *length > static_cast<int64_t>(left.size())) {
    return std::nullopt;
  }
  const auto size = static_cast<size_t>(*length);
  if (size <= space + 1 || left[size - 1] != '\n') return std::nullopt;
  const std::string_view record = left.substr(space + 1, size - space - 2);
  left.remove_prefix(size);
  const size_t equals = record.find('=');
  if (equals == record.npos || equals == 0) return std::nullopt;
  return std::pair(record.substr(0, equals), record.substr(equals + 1));
}

bool HasNulWhereItMustNot(std::string_view key, std::string_view value) {
  const bool is_text = key == "path" || key == "linkpath" || key == "uname" || key == "gname";
  return (is_text ? value : key).find('\0') != std::string_view::npos;
}

// Seconds with an optional fraction, of which nine digits count.
std::optional<timespec> ParseTime(std::string_view text) {
  const size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  const auto seconds = ParseDecimal(whole);
  if (!seconds) return std::nullopt;
  timespec time{*seconds, 0};
  if (dot == text.npos) return time;
  long unit = kNanosecondsPerSecond / 10;
  for (const char digit : text.substr(dot + 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    time.tv_nsec += unit * (digit - '0');
    unit /= 10;
  }
  if (whole.starts_with('-') && time.tv_nsec > 0) {
    time.tv_nsec = kNanosecondsPerSecond - time.tv_nsec;
    if (time.tv_sec > INT64_MIN) --time.tv_sec;
  }
  return time;
}

template <typename T>
bool Take(const std::optional<T>& from, T& to) {
  if (from) to = *from;
  return from.has_value();
}

bool ApplyOne(const std::string& key, const std::string& value, TarHeader& header) {
  if (key == "path") header.name = value;
  if (key == "linkpath") header.link = value;
  if (key == "uid") return Take(ParseDecimal(value), header.uid);
  if (key == "gid") return Take(ParseDecimal(value), header.gid);
  if (key == "size") return Take(ParseDecimal(value), header.size_bytes);
  if (key == "mtime") return Take(ParseTime(value), header.mtime);
  if (key == "ctime") return ParseTime(value).has_value();  // checked, not used
  if (key == "atime") {
    header.atime = ParseTime(value);
    return header.atime.has_value();
  }
  return true;
}

}  // namespace

Result<PaxRecords> ParsePaxRecords(std::string_view body) {
  PaxRecords records;
  std::string sparse_map;
  size_t sparse_values = 0;
  while (!body.empty()) {
    const auto record = TakeRecord(body);
    if (!record || HasNulWhereItMustNot(record->first, record->second)) {
      return DataLoss("a pax header has a malformed record");
    }
    const auto& [key, value] = *record;
    const bool is_offset = key == "GNU.sparse.offset";
    if (!is_offset && key != "GNU.sparse.numbytes") {
      records.insert_or_assign(std::string(key), std::string(value));
      continue;
    }
    if (is_offset != (sparse_values % 2 == 0) || value.find(',') != value.npos) {
      return DataLoss("a pax header has a malformed sparse map");
    }
    if (sparse_values++ > 0) sparse_map += ',';
    sparse_map += value;
  }
  if (sparse_values > 0) records.insert_or_assign("GNU.sparse.map", std::move(sparse_map));
  return records;
}

Status ApplyPaxRecords(const PaxRecords& records, TarHeader& header) {
  for (const auto& [key, value] : records) {
    if (value.empty() || ApplyOne(key, value, header)) continue;
    return DataLoss(header.name + ": its pax header has a malformed " + key);
  }
  return OkStatus();
}

std::string_view PaxValue(const PaxRecords& records, std::string_view key) {
  const auto it = records.find(key);
  return it == records.end() ? std::string_view() : std::string_view(it->second);
}

}  // namespace hearth::plugin
