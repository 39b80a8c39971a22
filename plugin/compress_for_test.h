// Compressed streams and a source that hands them out in small steps; for tests only.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "plugin/unpacker.h"

namespace hearth::plugin {

inline std::string GzipOf(const std::string& text) {
  z_stream stream{};
  CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// One streamed frame with the given window; `window_log` 0 = one segment of known size.
inline std::string ZstdOf(const std::string& text, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::string out(ZSTD_compressBound(text.size()) + 64, '\0');
  if (window_log == 0) {
    const size_t size =
        ZSTD_compressCCtx(context, out.data(), out.size(), text.data(), text.size(), 3);
    out.resize(size);
  } else {
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    ZSTD_inBuffer in{text.data(), text.size(), 0};
    ZSTD_outBuffer made{out.data(), out.size(), 0};
    // Not told the size in advance, the encoder keeps to the window that it was given.
    CHECK(!ZSTD_isError(ZSTD_compressStream2(context, &made, &in, ZSTD_e_flush)));
    CHECK(ZSTD_compressStream2(context, &made, &in, ZSTD_e_end) == 0);
    out.resize(made.pos);
  }
  ZSTD_freeCCtx(context);
  return out;
}

// `text` in steps of at most `step_bytes`, then the end, or `error` where that is one.
class StringSource final : public ByteSource {
 public:
  explicit StringSource(std::string text, size_t step_bytes = 1 << 20, Status error = {})
      : text_(std::move(text)), step_bytes_(step_bytes), error_(std::move(error)) {}

  Result<size_t> Read(std::span<char> out) override {
    const size_t size = std::min({out.size(), step_bytes_, text_.size() - offset_});
    if (size == 0 && !error_.ok()) return error_;
    std::memcpy(out.data(), text_.data() + offset_, size);
    offset_ += size;
    return size;
  }
  bool drained() const { return offset_ == text_.size(); }

 private:
  const std::string text_;
  const size_t step_bytes_;
  const Status error_;
  size_t offset_ = 0;
};

}  // namespace hearth::plugin
