// Unpack: a layer blob (tar, tar+gzip, tar+zstd) becomes an overlayfs upper directory.
//
// Streams: one thread decompresses, one hashes (diff ID), one parses and writes, with a bounded
// ring of buffers from the first to the others; never holds more than `ring_buffers` × 256 KiB plus
// the decompressor's window. The result equals what containerd's own unpack of the same layer onto
// the same lower layers leaves (facts: mode, owner, nanosecond times, xattrs, capabilities, hard
// links, devices; whiteouts as 0/0 character devices, opaque directories as
// trusted.overlay.opaque=y; directories that the tar implies but does not carry take mode, owner
// and xattrs from the layers below). No path in the tar can reach outside the layer root. Any
// thread; one call, one layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace hearth::plugin {

// Where compressed bytes come from, in order; may block until they arrive.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to out.size() bytes; 0 = the end. An error ends the unpack with it.
  virtual Result<size_t> Read(std::span<char> out) = 0;
};

// kDetect: by the first bytes. So are kGzip and kZstd where they disagree with the bytes, as
// containerd does it.
enum class Compression : uint8_t { kNone, kGzip, kZstd, kDetect };

// Of an OCI or Docker layer media type, with or without "+gzip"/"+zstd"/".gzip" and
// "nondistributable"/"foreign". Docker's type without a suffix is kDetect. kUnimplemented for
// anything else (encrypted, squashfs, …): containerd must decide about those itself.
Result<Compression> CompressionOf(std::string_view media_type);

struct UnpackOptions {
  std::filesystem::path root;  // the layer's `fs` directory: exists, empty, mode 0755
  // `fs` directories of the layers below, top first, for implied directories. May be given later
  // than the start: see ResolveImpliedDirectories. (A hard link to a file of a lower layer is an
  // error, as in containerd.)
  std::vector<std::filesystem::path> lower;
  // No layer is below: whiteouts then remove what the tar itself brought, as containerd does.
  bool bottom = false;
  Compression compression = Compression::kGzip;
  size_t ring_buffers = 16;                         // of 256 KiB
  uint64_t zstd_window_limit_bytes = 128ull << 20;  // a larger window is kResourceExhausted
};

struct Unpacked {
  Digest diff_id;           // sha256 of the whole uncompressed stream
  uint64_t tar_bytes = 0;   // length of that stream
  uint64_t disk_bytes = 0;  // allocated by files and directories of the layer with its root (du)
  uint64_t inodes = 0;      // with the root
  // Relative paths of directories made because an entry lay below them, parents first. A trailing
  // "/" marks one that the tar carries later: only its xattrs come from below.
  std::vector<std::string> implied_directories;
};

// Reads `source` to its end and fills options.root. kDataLoss: corrupt or truncated stream or tar;
// kInvalidArgument: an entry that containerd refuses too (escapes); kResourceExhausted: disk full
// or window too large; kCancelled: `stop`. After an error the caller removes the root.
Result<Unpacked> Unpack(ByteSource& source, const UnpackOptions& options, std::stop_token stop);

// Gives each implied directory (in order) mode, owner and xattrs that containerd would have given
// it, from the first layer in `lower` (top first) that has it; where none has it, 0755 root. Its
// modification time comes from there too while nothing lies in it, else it is that of the unpack.
// To be called before the layer is shown, when all lower layers are whole.
Status ResolveImpliedDirectories(const std::filesystem::path& root,
                                 const std::vector<std::filesystem::path>& lower,
                                 const std::vector<std::string>& implied_directories);

}  // namespace hearth::plugin
