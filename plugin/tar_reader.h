// TarReader: the entries of a tar stream (v7, ustar, star, pax, GNU), as containerd reads them.
//
// What a layer holds is what Go's archive/tar finds in it, so its rules are kept one by one, those
// for damaged archives too (docs/decisions/0008). Bytes are pulled buffer by buffer and bodies are
// handed out in place. One thread at a time. Strings are the archive's own bytes.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hearth::plugin {

enum class TarType : uint8_t {
  kFile,
  kDirectory,
  kSymlink,
  kHardLink,
  kFifo,
  kCharDevice,
  kBlockDevice,
  kGlobalHeader,  // says nothing of use, but containerd makes room for it as for a file
};

struct TarEntry {
  TarType type = TarType::kFile;
  std::string name;    // as written: may be absolute, hold "..", end in "/"
  std::string target;  // of a symbolic or hard link, as written
  mode_t mode = 0;     // permission bits with suid, sgid, sticky
  int64_t uid = 0;
  int64_t gid = 0;
  uint64_t size_bytes = 0;  // of a file, holes counted
  timespec mtime{};
  timespec atime{};  // mtime where the tar has none
  uint64_t device_major = 0;
  uint64_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// One stretch of a file's body; what lies between two is a hole.
struct TarBlock {
  std::span<const char> data;
  uint64_t offset_bytes = 0;
};

class TarReader {
 public:
  // The next buffer of the stream, empty at its end; valid until the next call.
  using Pull = std::function<Result<std::span<const char>>()>;

  explicit TarReader(Pull pull);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // False at the end of the archive; what follows it in the stream is not read. kDataLoss for a
  // corrupt or truncated archive, kInvalidArgument for a type that containerd does not unpack, or
  // what `pull` answers.
  Result<bool> Next(TarEntry& entry);
  // The body of the last entry, in order; false at its end.
  Result<bool> NextBlock(TarBlock& block);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hearth::plugin
