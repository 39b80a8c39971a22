#include "plugin/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include <algorithm>
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

Status SetType(archive_entry* from, TarEntry& entry) {
  if (const char* target = archive_entry_hardlink(from); target != nullptr) {
    entry.type = TarType::kHardLink;
    entry.target = target;
    return OkStatus();
  }
  switch (archive_entry_filetype(from)) {
    case AE_IFREG:
      entry.type = TarType::kFile;
      return OkStatus();
    case AE_IFDIR:
      entry.type = TarType::kDirectory;
      return OkStatus();
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(from);
      entry.type = TarType::kSymlink;
      entry.target = target != nullptr ? target : "";
      return OkStatus();
    }
    case AE_IFIFO:
      entry.type = TarType::kFifo;
      return OkStatus();
    case AE_IFCHR:
    case AE_IFBLK:
      entry.type =
          archive_entry_filetype(from) == AE_IFCHR ? TarType::kCharDevice : TarType::kBlockDevice;
      entry.device_major = archive_entry_rdevmajor(from);
      entry.device_minor = archive_entry_rdevminor(from);
      return OkStatus();
    default:
      return InvalidArgument("tar entry " + entry.name + " has an unknown type");
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
  Status pull_status;          // not OK once pull failed
  uint64_t pulled_bytes = 0;   // in this call
  uint64_t limit_bytes = 0;    // of pulled_bytes, 0 = none
  bool in_entry = false;       // its body may be left
  bool any_bytes = false;      // was the stream more than nothing
  std::span<const char> held;  // first buffer, read ahead to tell an empty stream

  static la_ssize_t Read(archive* reader, void* self, const void** buffer) {
    return static_cast<State*>(self)->ReadNext(reader, buffer);
  }

  la_ssize_t ReadNext(archive* failing, const void** buffer) {
    if (held.empty()) {
      auto next = pull();
      if (!next.ok()) {
        pull_status = next.status();
        archive_set_error(failing, EIO, "%s", pull_status.message().c_str());
        return -1;
      }
      held = *next;
    }
    const std::span<const char> out = std::exchange(held, {});
    pulled_bytes += out.size();
    if (limit_bytes != 0 && pulled_bytes > limit_bytes) {
      pull_status = InvalidArgument("tar header with its extensions is larger than 4 MiB");
      archive_set_error(failing, EFBIG, "%s", pull_status.message().c_str());
      return -1;
    }
    *buffer = out.data();
    return static_cast<la_ssize_t>(out.size());
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
  TRY_STATUS(SetType(from, entry));
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
