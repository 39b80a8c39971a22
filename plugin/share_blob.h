// ShareBlob: gives the bytes of a complete blob a second place, without moving them where the file
// system can, and verified in any case.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <stop_token>

#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"

namespace hearth::plugin {

enum class SharedBy : uint8_t { kThere, kReflink, kLink, kCopy };
const char* NameOf(SharedBy how);
// How many blobs went which way.
class SharedCounts {
 public:
  void Add(SharedBy how) { ++counts_[static_cast<size_t>(how)]; }
  size_t Of(SharedBy how) const { return counts_[static_cast<size_t>(how)]; }

 private:
  std::array<size_t, 4> counts_{};
};

// Makes the file `to` of the bytes of `source`: shared blocks, else a second name of the same file,
// else a copy; hashed on the way, and on disk when this returns (the caller syncs the directory).
// A file that is at `to` goes. `mode` is that of a file of its own. kDataLoss: the bytes are not
// those of `digest`; then, as after any error, there is no file at `to`. Blocks; any thread.
//
// A second name is safe: containerd's store writes a blob under ingest/ only, renames it to its
// digest when it is whole, and from then on only unlinks it; and so do we.
Result<SharedBy> ShareBlob(const Fd& source, const std::filesystem::path& to, const Digest& digest,
                           mode_t mode, const std::stop_token& stop);

// Whether both directories lie where no byte need be moved between them.
bool CanShare(const std::filesystem::path& one, const std::filesystem::path& other);

}  // namespace hearth::plugin
