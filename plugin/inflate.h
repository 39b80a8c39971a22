// Inflater: a compressed byte stream, read as what it decompresses to.
//
// gzip (any number of members; CRC and length of each are checked), zstd (any number of frames,
// skippable ones too) or none. Memory: one input buffer and the decompressor's window.
#pragma once

#include <memory>
#include <stop_token>

#include "plugin/unpacker.h"

namespace hearth::plugin {

// Reads `source`, which outlives the result. One thread at a time. Read() fills `out` where it can,
// so a short count means that the end is near, and says 0 at the end only; errors: kDataLoss for a
// corrupt or truncated stream, kResourceExhausted for a zstd window above
// `zstd_window_limit_bytes`, kCancelled by `stop`, and whatever `source` answers. Of all zstd
// streams in the process one at a time may use a window above 8 MiB; the others wait for it. kGzip,
// kZstd and kDetect go by the first bytes of the stream, as containerd does: blobs with the wrong
// media type exist.
std::unique_ptr<ByteSource> MakeInflater(ByteSource& source, Compression compression,
                                         uint64_t zstd_window_limit_bytes,
                                         std::stop_token stop = {});

}  // namespace hearth::plugin
