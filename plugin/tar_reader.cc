#include "plugin/tar_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "plugin/tar_header.h"
#include "plugin/tar_pax.h"
#include "plugin/tar_sparse.h"

namespace hearth::plugin {
namespace {

using HeaderBlock = std::array<char, kTarBlockBytes>;

// An extended header and a GNU long name are held in memory.
constexpr int64_t kSpecialLimitBytes = 1 << 20;
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

Status Corrupt(const Status& why) { return why.Annotate("tar stream is corrupt"); }
Status Truncated() { return DataLoss("tar stream is truncated"); }

int64_t PaddingOf(int64_t size_bytes) {
  constexpr int64_t kBlock = kTarBlockBytes;
  return (kBlock - size_bytes % kBlock) % kBlock;
}

bool IsZero(const HeaderBlock& block) {
  return std::all_of(block.begin(), block.end(), [](char byte) { return byte == 0; });
}

// containerd's rule: a time before 1970 or beyond 64 bits of nanoseconds becomes the epoch.
timespec Bounded(timespec time) {
  constexpr int64_t kMaxSeconds = INT64_MAX / 1'000'000'000;
  constexpr long kMaxNanoseconds = INT64_MAX % 1'000'000'000;
  const bool beyond = time.tv_sec < 0 || time.tv_sec > kMaxSeconds ||
                      (time.tv_sec == kMaxSeconds && time.tv_nsec > kMaxNanoseconds);
  return beyond ? timespec{} : time;
}

bool Before(timespec one, timespec other) {
  return std::pair(one.tv_sec, one.tv_nsec) < std::pair(other.tv_sec, other.tv_nsec);
}

Result<TarType> TypeOf(const TarHeader& header) {
  switch (header.type) {
    case '0':
      return TarType::kFile;
    case '1':
      return TarType::kHardLink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    default:
      return InvalidArgument(header.name + ": tar entry of type " +
                             std::to_string(static_cast<unsigned char>(header.type)) +
                             ", which containerd does not unpack either");
  }
}

void FillEntry(TarHeader header, TarType type, const PaxRecords& records, TarEntry& entry) {
  entry.type = type;
  entry.name = std::move(header.name);
  entry.target = std::move(header.link);
  entry.mode = static_cast<mode_t>(header.mode & 07777);
  entry.uid = header.uid;
  entry.gid = header.gid;
  entry.size_bytes = TarTypeHasBody(header.type) ? static_cast<uint64_t>(header.size_bytes) : 0;
  entry.mtime = Bounded(header.mtime);
  entry.atime = entry.mtime;
  if (header.atime && Before(header.mtime, *header.atime)) entry.atime = Bounded(*header.atime);
  entry.device_major = static_cast<uint64_t>(header.device_major);
  entry.device_minor = static_cast<uint64_t>(header.device_minor);
  entry.xattrs.clear();
  for (auto it = records.lower_bound(kXattrPrefix);
       it != records.end() && it->first.starts_with(kXattrPrefix); ++it) {
    entry.xattrs.emplace_back(it->first.substr(kXattrPrefix.size()), it->second);
  }
}

}  // namespace

struct TarReader::State {
  explicit State(Pull pull_stream) : pull(std::move(pull_stream)) {}

  // ---- the stream

  Pull pull;
  std::span<const char> left;  // of the current buffer
  bool at_end = false;

  // OK with nothing left means the end.
  Status Refill() {
    if (!left.empty() || at_end) return OkStatus();
    left = TRY(pull());
    at_end = left.empty();
    return OkStatus();
  }
  std::span<const char> TakeUpTo(uint64_t size) {
    const auto taken = left.first(std::min<uint64_t>(size, left.size()));
    left = left.subspan(taken.size());
    return taken;
  }
  // How many bytes came before the end.
  Result<size_t> Read(std::span<char> out) {
    size_t got = 0;
    while (got < out.size()) {
      TRY_STATUS(Refill());
      if (left.empty()) break;
      const auto part = TakeUpTo(out.size() - got);
      std::memcpy(out.data() + got, part.data(), part.size());
      got += part.size();
    }
    return got;
  }
  // False when the stream ended first.
  Result<bool> Skip(int64_t size) {
    while (size > 0) {
      TRY_STATUS(Refill());
      if (left.empty()) return false;
      size -= static_cast<int64_t>(TakeUpTo(static_cast<uint64_t>(size)).size());
    }
    return true;
  }

  // ---- the current entry

  int64_t body_left_bytes = 0;
  int64_t padding_bytes = 0;
  bool sparse = false;
  std::vector<SparseExtent> extents;  // of a sparse body
  size_t extent = 0;                  // the one that comes next
  int64_t offset_bytes = 0;           // where the next byte lies in the file, or in `extent`

  Status BeginBody(const TarHeader& header) {
    const int64_t size = TarTypeHasBody(header.type) ? header.size_bytes : 0;
    if (size < 0) return Corrupt(DataLoss(header.name + ": its size is negative"));
    body_left_bytes = size;
    padding_bytes = PaddingOf(size);
    sparse = false;
    offset_bytes = 0;
    return OkStatus();
  }

  // The next header block; false at the end of the archive: where the stream ends between two
  // entries (or in the padding before), after one block of zeros that ends it, or two.
  Result<bool> NextHeaderBlock(HeaderBlock& block) {
    if (!TRY(Skip(std::exchange(body_left_bytes, 0)))) return Truncated();
    if (!TRY(Skip(std::exchange(padding_bytes, 0)))) return false;
    for (int zero_blocks = 0; zero_blocks < 2; ++zero_blocks) {
      const size_t got = TRY(Read(block));
      if (got == 0) return false;
      if (got < block.size()) return Truncated();
      if (IsZero(block)) continue;
      if (zero_blocks == 0) return true;
      return Corrupt(DataLoss("one block of zeros lies between two headers"));
    }
    return false;
  }

  // The body of an extended header or a long name.
  Result<std::string> ReadSpecialBody() {
    if (body_left_bytes > kSpecialLimitBytes) {
      return Corrupt(DataLoss("a pax header or long name is above 1 MiB"));
    }
    std::string body(static_cast<size_t>(std::exchange(body_left_bytes, 0)), '\0');
    if (TRY(Read(body)) < body.size()) return Truncated();
    return body;
  }

  // Takes a sparse file's map from its headers or the start of its body.
  Status BeginSparse(const PaxRecords& records, TarHeader& header) {
    const SparseFormat format = SparseFormatOf(records);
    if (format == SparseFormat::kNone) return OkStatus();
    if (const auto name = PaxValue(records, "GNU.sparse.name"); !name.empty()) header.name = name;
    auto size = PaxValue(records, "GNU.sparse.size");
    if (size.empty()) size = PaxValue(records, "GNU.sparse.realsize");
    if (!size.empty()) {
      const auto number = ParseDecimal(size);
      if (!number) return Corrupt(DataLoss(header.name + ": its sparse size is no number"));
      header.size_bytes = *number;
    }
    auto map = format == SparseFormat::kInHeader ? ParseSparseMapInHeader(records) : ReadMap();
    if (!map.ok()) return Corrupt(map.status().Annotate(header.name));
    if (!TarTypeHasBody(header.type)) {
      return Corrupt(DataLoss(header.name + ": it is sparse and no file"));
    }
    const Status checked = CheckSparseExtents(*map, header.size_bytes, body_left_bytes);
    if (!checked.ok()) return Corrupt(checked.Annotate(header.name));
    sparse = true;
    extents = *std::move(map);
    extent = 0;
    return OkStatus();
  }

  Result<std::vector<SparseExtent>> ReadMap() {
    SparseMapInBody map;
    HeaderBlock block;
    while (true) {
      const bool whole = body_left_bytes >= static_cast<int64_t>(block.size());
      if (!whole || TRY(Read(block)) < block.size()) return Truncated();
      body_left_bytes -= static_cast<int64_t>(block.size());
      if (TRY(map.AddBlock({block.data(), block.size()}))) return map.Take();
    }
  }

  // How many bytes of the body may come in one piece, and where they lie.
  int64_t NextStretch(int64_t& at) {
    if (!sparse) {
      at = offset_bytes;
      return body_left_bytes;
    }
    while (offset_bytes == extents[extent].length_bytes) {
      ++extent;
      offset_bytes = 0;
    }
    at = extents[extent].offset_bytes + offset_bytes;
    return extents[extent].length_bytes - offset_bytes;
  }
};

TarReader::TarReader(Pull pull) : state_(std::make_unique<State>(std::move(pull))) {}

TarReader::~TarReader() = default;

Result<bool> TarReader::Next(TarEntry& entry) {
  State& state = *state_;
  PaxRecords records;
  std::string long_name;
  std::string long_link;
  HeaderBlock block;
  while (TRY(state.NextHeaderBlock(block))) {
    auto parsed = ParseTarHeader(block);
    if (!parsed.ok()) return Corrupt(parsed.status());
    TarHeader& header = *parsed;
    TRY_STATUS(state.BeginBody(header));
    if (header.type == kTarGnuName || header.type == kTarGnuLink) {
      const std::string body = TRY(state.ReadSpecialBody());
      (header.type == kTarGnuName ? long_name : long_link) = UntilNul(body);
      continue;
    }
    if (header.type == kTarPax || header.type == kTarPaxGlobal) {
      auto read = ParsePaxRecords(TRY(state.ReadSpecialBody()));
      if (!read.ok()) return Corrupt(read.status());
      records = *std::move(read);
      if (header.type == kTarPax) continue;
      // It stands for itself: what it says of the files that follow is not used.
      if (const auto name = PaxValue(records, "path"); !name.empty()) header.name = name;
      FillEntry(std::move(header), TarType::kGlobalHeader, {}, entry);
      return true;
    }
    const Status applied = ApplyPaxRecords(records, header);
    if (!applied.ok()) return Corrupt(applied);
    if (!long_name.empty()) header.name = long_name;
    if (!long_link.empty()) header.link = long_link;
    if (header.type == kTarOldFile) header.type = header.name.ends_with('/') ? '5' : '0';
    const TarType type = TRY(TypeOf(header));
    TRY_STATUS(state.BeginBody(header));  // the size may be another now
    TRY_STATUS(state.BeginSparse(records, header));
    FillEntry(std::move(header), type, records, entry);
    return true;
  }
  return false;
}

Result<bool> TarReader::NextBlock(TarBlock& block) {
  State& state = *state_;
  if (state.body_left_bytes == 0) return false;
  int64_t at = 0;
  const int64_t stretch = state.NextStretch(at);
  TRY_STATUS(state.Refill());
  if (state.left.empty()) return Truncated();
  block.data = state.TakeUpTo(static_cast<uint64_t>(stretch));
  block.offset_bytes = static_cast<uint64_t>(at);
  const auto taken = static_cast<int64_t>(block.data.size());
  state.body_left_bytes -= taken;
  state.offset_bytes += taken;
  return true;
}

}  // namespace hearth::plugin
