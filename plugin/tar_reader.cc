#include "plugin/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace hearth::plugin {
namespace {

// What one header with its extensions may take; they are held in memory.
constexpr uint64_t kHeaderLimitBytes = 4u << 20;

// libarchive converts pax names from UTF-8 to the thread's locale, with normalization. In the C
// locale that fails for every name beyond ASCII, and then it hands out the bytes as they are.
class CLocale {
 public:
  CLocale() : saved_(::uselocale(Get())) {}
  ~CLocale() { ::uselocale(saved_); }

 private:
  static locale_t Get() {
    static const locale_t locale = ::newlocale(LC_ALL_MASK, "C", locale_t{});
    return locale;
  }
  const locale_t saved_;
};

// How much of a buffer is kept when the next one is pulled, for headers that lie across the two.
constexpr size_t kTailBytes = 8 * 1024;

// libarchive loses a link's target that only the pax header holds, with an empty one in the ustar
// header (Go writes that for names that are wholly beyond ASCII). Finds it in the raw headers that
// begin `raw`; "" where there is none.
std::string PaxLinkPath(std::string_view raw) {
  constexpr size_t kBlock = 512;
  std::string found;
  while (raw.size() >= kBlock) {
    const char type = raw[156];
    if (type != 'x' && type != 'g' && type != 'L' && type != 'K') break;
    const size_t size = std::strtoull(std::string(raw.substr(124, 12)).c_str(), nullptr, 8);
    if (size > raw.size() - kBlock) break;
    std::string_view records = raw.substr(kBlock, size);
    while (type == 'x' && !records.empty()) {
      const size_t length = std::strtoull(std::string(records.substr(0, 8)).c_str(), nullptr, 10);
      const size_t space = records.find(' ');
      if (length > records.size() || space == records.npos || space + 2 > length) break;
      const std::string_view record = records.substr(space + 1, length - space - 2);
      if (record.starts_with("linkpath=")) found = record.substr(9);
      records.remove_prefix(length);
    }
    const size_t padded = kBlock + (size + kBlock - 1) / kBlock * kBlock;
    raw.remove_prefix(std::min(raw.size(), padded));
  }
  return found.substr(0, found.find('\0'));
}

// Warnings about metadata that is not used here; any other one means a malformed header.
bool IsHarmless(std::string_view warning) {
  return warning.find("can't be converted") != warning.npos ||
         warning.find("ACL") != warning.npos || warning.find("Parse error") != warning.npos;
}

// containerd's rule: a time before 1970 or beyond 64 bits of nanoseconds becomes the epoch.
timespec Bounded(int64_t seconds, long nanoseconds) {
  constexpr int64_t kMaxSeconds = INT64_MAX / 1'000'000'000;
  constexpr long kMaxNanoseconds = INT64_MAX % 1'000'000'000;
  const bool beyond = seconds < 0 || seconds > kMaxSeconds ||
                      (seconds == kMaxSeconds && nanoseconds > kMaxNanoseconds);
  return beyond ? timespec{} : timespec{seconds, nanoseconds};
}

bool Before(int64_t seconds, long nanoseconds, int64_t other_seconds, long other_nanoseconds) {
  return std::pair(seconds, nanoseconds) < std::pair(other_seconds, other_nanoseconds);
}

void SetType(archive_entry* from, TarEntry& entry) {
  if (const char* target = archive_entry_hardlink(from); target != nullptr) {
    entry.type = TarType::kHardLink;
    entry.target = target;
    return;
  }
  switch (archive_entry_filetype(from)) {
    case AE_IFREG:
      entry.type = TarType::kFile;
      return;
    case AE_IFDIR:
      entry.type = TarType::kDirectory;
      return;
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(from);
      entry.type = TarType::kSymlink;
      entry.target = target != nullptr ? target : "";
      return;
    }
    case AE_IFIFO:
      entry.type = TarType::kFifo;
      return;
    case AE_IFCHR:
    case AE_IFBLK:
      entry.type =
          archive_entry_filetype(from) == AE_IFCHR ? TarType::kCharDevice : TarType::kBlockDevice;
      entry.device_major = archive_entry_rdevmajor(from);
      entry.device_minor = archive_entry_rdevminor(from);
      return;
    default:
      // A hard link whose target was lost, see PaxLinkPath.
      entry.type = TarType::kHardLink;
      return;
  }
}

void SetXattrs(archive_entry* from, TarEntry& entry) {
  entry.xattrs.clear();
  if (archive_entry_xattr_reset(from) == 0) return;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  while (archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr) continue;
    entry.xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
}

void SetTimes(archive_entry* from, TarEntry& entry) {
  const int64_t mtime = archive_entry_mtime(from);
  const long mtime_nsec = archive_entry_mtime_nsec(from);
  entry.mtime = Bounded(mtime, mtime_nsec);
  entry.atime = entry.mtime;
  if (!archive_entry_atime_is_set(from)) return;
  const int64_t atime = archive_entry_atime(from);
  const long atime_nsec = archive_entry_atime_nsec(from);
  if (Before(mtime, mtime_nsec, atime, atime_nsec)) entry.atime = Bounded(atime, atime_nsec);
}

}  // namespace

struct TarReader::State {
  Pull pull;
  archive* reader = nullptr;
  Status pull_status;             // not OK once pull failed
  uint64_t pulled_bytes = 0;      // in this call
  uint64_t limit_bytes = 0;       // of pulled_bytes, 0 = none
  bool in_entry = false;          // its body may be left
  bool any_bytes = false;         // was the stream more than nothing
  std::span<const char> current;  // what libarchive reads
  uint64_t current_begin = 0;     // its offset in the stream
  std::string tail;               // end of the buffer before it
  std::span<const char> held;     // first buffer, read ahead to tell an empty stream

  static la_ssize_t Read(archive* reader, void* self, const void** buffer) {
    return static_cast<State*>(self)->ReadNext(reader, buffer);
  }

  la_ssize_t ReadNext(archive* failing, const void** buffer) {
    if (held.empty()) {
      const size_t kept = std::min(current.size(), kTailBytes);
      tail.assign(current.end() - static_cast<std::ptrdiff_t>(kept), current.end());
      auto next = pull();
      if (!next.ok()) {
        pull_status = next.status();
        archive_set_error(failing, EIO, "%s", pull_status.message().c_str());
        return -1;
      }
      held = *next;
    }
    const std::span<const char> out = std::exchange(held, {});
    current_begin += current.size();
    current = out;
    pulled_bytes += out.size();
    if (limit_bytes != 0 && pulled_bytes > limit_bytes) {
      pull_status = InvalidArgument("tar header with its extensions is larger than 4 MiB");
      archive_set_error(failing, EFBIG, "%s", pull_status.message().c_str());
      return -1;
    }
    *buffer = out.data();
    return static_cast<la_ssize_t>(out.size());
  }

  // The start of what is still here of the stream from `position` on.
  std::string RawFrom(uint64_t position) const {
    const std::string_view here(current.data(), current.size());
    if (position >= current_begin) {
      const size_t skip = std::min<uint64_t>(position - current_begin, here.size());
      return std::string(here.substr(skip, kTailBytes));
    }
    const uint64_t back = current_begin - position;
    if (back > tail.size()) return "";
    return tail.substr(tail.size() - back) + std::string(here.substr(0, kTailBytes));
  }

  Status Failed() const {
    if (!pull_status.ok()) return pull_status;
    const char* why = archive_error_string(reader);
    return DataLoss(std::string("tar stream is corrupt: ") + (why != nullptr ? why : "unknown"));
  }
};

TarReader::TarReader(Pull pull) : state_(std::make_unique<State>()) {
  state_->pull = std::move(pull);
  state_->reader = archive_read_new();
  CHECK(state_->reader != nullptr);
  CHECK(archive_read_support_format_tar(state_->reader) == ARCHIVE_OK);
}

TarReader::~TarReader() {
  const CLocale locale;
  archive_read_free(state_->reader);
}

Result<bool> TarReader::Next(TarEntry& entry) {
  const CLocale locale;
  State& state = *state_;
  if (!state.any_bytes) {
    // A stream of no bytes is an empty layer to containerd and no archive to libarchive.
    state.held = TRY(state.pull());
    if (state.held.empty()) return false;
    state.any_bytes = true;
    if (archive_read_open(state.reader, &state, nullptr, &State::Read, nullptr) != ARCHIVE_OK) {
      return state.Failed();
    }
  }
  if (state.in_entry) {
    state.limit_bytes = 0;
    if (archive_read_data_skip(state.reader) < ARCHIVE_WARN) return state.Failed();
    state.in_entry = false;
  }
  state.pulled_bytes = 0;
  state.limit_bytes = kHeaderLimitBytes;
  archive_entry* from = nullptr;
  const int code = archive_read_next_header(state.reader, &from);
  if (code == ARCHIVE_EOF) return false;
  if (code == ARCHIVE_WARN) {
    const char* warning = archive_error_string(state.reader);
    if (warning == nullptr || !IsHarmless(warning)) return state.Failed();
  } else if (code != ARCHIVE_OK) {
    return state.Failed();
  }
  state.in_entry = true;
  const char* name = archive_entry_pathname(from);
  entry.name = name != nullptr ? name : "";
  entry.target.clear();
  entry.mode = archive_entry_perm(from) & 07777;
  entry.uid = archive_entry_uid(from);
  entry.gid = archive_entry_gid(from);
  entry.size_bytes = static_cast<uint64_t>(std::max<int64_t>(archive_entry_size(from), 0));
  SetType(from, entry);
  const bool is_link = entry.type == TarType::kSymlink || entry.type == TarType::kHardLink;
  if (is_link && entry.target.empty()) {
    const auto position = static_cast<uint64_t>(archive_read_header_position(state.reader));
    entry.target = PaxLinkPath(state.RawFrom(position));
  }
  SetXattrs(from, entry);
  SetTimes(from, entry);
  return true;
}

Result<bool> TarReader::NextBlock(TarBlock& block) {
  const CLocale locale;
  state_->limit_bytes = 0;
  const void* data = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  const int code = archive_read_data_block(state_->reader, &data, &size, &offset);
  if (code == ARCHIVE_EOF) return false;
  if (code != ARCHIVE_OK) return state_->Failed();
  block.data = std::span(static_cast<const char*>(data), size);
  block.offset_bytes = static_cast<uint64_t>(offset);
  return true;
}

}  // namespace hearth::plugin
