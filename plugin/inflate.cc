#include "plugin/inflate.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread.h"
#include "base/units.h"

#ifdef HEARTH_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

namespace hearth::plugin {
namespace {

constexpr size_t kInputBytes = 256 * 1024;
constexpr size_t kMagicBytes = 10;  // what containerd looks at

// The compressed side: a buffer that is refilled from the source.
class Input {
 public:
  explicit Input(ByteSource& source) : source_(source), buffer_(kInputBytes) {}

  std::span<char> left() { return std::span(buffer_).subspan(begin_, end_ - begin_); }
  void Consume(size_t bytes) { begin_ += bytes; }
  bool at_end() const { return at_end_; }

  // Reads on when nothing is left. OK with nothing left means the end.
  Status Refill() {
    if (begin_ < end_ || at_end_) return OkStatus();
    begin_ = end_ = 0;
    return Append();
  }
  // Until `bytes` are left, or the end.
  Status Peek(size_t bytes) {
    if (buffer_.size() - begin_ < bytes) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
    }
    while (end_ - begin_ < bytes && !at_end_) TRY_STATUS(Append());
    return OkStatus();
  }

 private:
  Status Append() {
    const size_t got = TRY(source_.Read(std::span(buffer_).subspan(end_)));
    end_ += got;
    at_end_ = got == 0;
    return OkStatus();
  }

  ByteSource& source_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool at_end_ = false;
};

// One decompressor over an Input; Step() makes some output.
class Engine {
 public:
  virtual ~Engine() = default;
  // Writes to `out` (not empty) from input.left(), consuming it. How many bytes came; 0 says that
  // more input is needed. Called at the end of input too, to say whether that may be the end.
  virtual Result<size_t> Step(Input& input, std::span<char> out) = 0;
  // OK when the stream may end here.
  virtual Status AtEnd() const = 0;
};

class PlainEngine final : public Engine {
 public:
  Result<size_t> Step(Input& input, std::span<char> out) override {
    const size_t size = std::min(out.size(), input.left().size());
    std::memcpy(out.data(), input.left().data(), size);
    input.Consume(size);
    return size;
  }
  Status AtEnd() const override { return OkStatus(); }
};

#ifdef HEARTH_HAVE_ISAL

class GzipEngine final : public Engine {
 public:
  GzipEngine() : state_(std::make_unique<inflate_state>()) {
    isal_inflate_init(state_.get());
    BeginMember();
  }

  Result<size_t> Step(Input& input, std::span<char> out) override {
    if (state_->block_state == ISAL_BLOCK_FINISH) {
      if (input.left().empty()) return size_t{0};
      isal_inflate_reset(state_.get());  // another member follows
      BeginMember();
    }
    in_member_ = in_member_ || !input.left().empty();
    state_->next_in = reinterpret_cast<uint8_t*>(input.left().data());
    state_->avail_in = static_cast<uint32_t>(input.left().size());
    if (in_header_) {
      const int code = isal_read_gzip_header(state_.get(), &header_);
      input.Consume(input.left().size() - state_->avail_in);
      if (code == ISAL_END_INPUT) return size_t{0};
      if (code != ISAL_DECOMP_OK) return Corrupt(code);
      in_header_ = false;
    }
    state_->next_out = reinterpret_cast<uint8_t*>(out.data());
    state_->avail_out = static_cast<uint32_t>(out.size());
    const int code = isal_inflate(state_.get());
    input.Consume(input.left().size() - state_->avail_in);
    if (code != ISAL_DECOMP_OK && code != ISAL_END_INPUT) return Corrupt(code);
    if (state_->block_state == ISAL_BLOCK_FINISH) in_member_ = false;
    return out.size() - state_->avail_out;
  }

  // igzip calls the end of its input no error, even in the middle of a member.
  Status AtEnd() const override {
    if (!in_member_) return OkStatus();
    return DataLoss("gzip stream is truncated: it ends inside a member");
  }

 private:
  // igzip's own way through a header forgets the flags where its input ends in the middle of it.
  void BeginMember() {
    state_->crc_flag = ISAL_GZIP_NO_HDR_VER;
    isal_gzip_header_init(&header_);
    header_.flags = 0;
    in_header_ = true;
  }

  static Status Corrupt(int code) {
    switch (code) {
      case ISAL_INCORRECT_CHECKSUM:
        return DataLoss("gzip stream is corrupt: its checksum is wrong");
      case ISAL_INVALID_WRAPPER:
      case ISAL_UNSUPPORTED_METHOD:
        return DataLoss("gzip stream is corrupt: bad member header");
      default:
        return DataLoss("gzip stream is corrupt: bad deflate data");
    }
  }

  std::unique_ptr<inflate_state> state_;
  isal_gzip_header header_{};
  bool in_header_ = true;
  bool in_member_ = false;
};

#else

// Unlike igzip and Go it refuses a member whose header has reserved flags set; nobody sets them.
class GzipEngine final : public Engine {
 public:
  GzipEngine() { CHECK(inflateInit2(&stream_, 15 + 16) == Z_OK); }
  ~GzipEngine() override { inflateEnd(&stream_); }

  Result<size_t> Step(Input& input, std::span<char> out) override {
    if (finished_) {
      if (input.left().empty()) return size_t{0};
      inflateReset(&stream_);  // another member follows
      finished_ = false;
    }
    in_member_ = in_member_ || !input.left().empty();
    stream_.next_in = reinterpret_cast<Bytef*>(input.left().data());
    stream_.avail_in = static_cast<uInt>(input.left().size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    input.Consume(input.left().size() - stream_.avail_in);
    finished_ = code == Z_STREAM_END;
    if (finished_) in_member_ = false;
    if (code == Z_MEM_ERROR) return ResourceExhausted("no memory to inflate a gzip stream");
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      return DataLoss(std::string("gzip stream is corrupt: ") +
                      (stream_.msg != nullptr ? stream_.msg : "bad deflate data"));
    }
    return out.size() - stream_.avail_out;
  }

  Status AtEnd() const override {
    if (!in_member_) return OkStatus();
    return DataLoss("gzip stream is truncated: it ends inside a member");
  }

 private:
  z_stream stream_{};
  bool finished_ = false;
  bool in_member_ = false;
};

#endif

constexpr uint64_t kSmallWindowBytes = 8u << 20;
constexpr size_t kZstdHeaderBytes = 18;  // the longest frame header
constexpr auto kStopPollInterval = std::chrono::milliseconds(50);

// The one large window that the process may have.
class LargeWindow {
 public:
  ~LargeWindow() {
    if (!held_) return;
    MutexLock lock(mutex_);
    busy_ = false;
    freed_.NotifyAll();
  }
  Status Acquire(const std::stop_token& stop) {
    if (held_) return OkStatus();
    MutexLock lock(mutex_);
    while (busy_) {
      if (stop.stop_requested()) return Cancelled("unpack stopped while it waited for memory");
      (void)freed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + kStopPollInterval);
    }
    busy_ = held_ = true;
    return OkStatus();
  }

 private:
  static inline Mutex mutex_;
  static inline CondVar freed_;
  static inline bool busy_ GUARDED_BY(mutex_) = false;
  bool held_ = false;
};

// The window that a frame beginning with `start` needs (RFC 8878 §3.1.1); 0 for anything else.
uint64_t ZstdWindowBytes(std::span<const char> start) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(start[i]); };
  if (start.size() < 6 || std::memcmp(start.data(), "\x28\xb5\x2f\xfd", 4) != 0) return 0;
  const uint8_t descriptor = at(4);
  const bool single_segment = (descriptor & 0x20) != 0;
  if (!single_segment) {
    const uint64_t base = uint64_t{1} << (10 + (at(5) >> 3));
    return base + base / 8 * (at(5) & 7);
  }
  constexpr size_t kDictionaryIdBytes[] = {0, 1, 2, 4};
  constexpr size_t kContentSizeBytes[] = {1, 2, 4, 8};
  const size_t begin = 5 + kDictionaryIdBytes[descriptor & 3];
  const size_t bytes = kContentSizeBytes[descriptor >> 6];
  if (start.size() < begin + bytes) return 0;
  uint64_t size = 0;
  for (size_t i = 0; i < bytes; ++i) size |= uint64_t{at(begin + i)} << (8 * i);
  return bytes == 2 ? size + 256 : size;
}

class ZstdEngine final : public Engine {
 public:
  ZstdEngine(uint64_t window_limit_bytes, std::stop_token stop)
      : window_limit_bytes_(window_limit_bytes),
        stop_(std::move(stop)),
        stream_(ZSTD_createDStream()) {
    CHECK(stream_ != nullptr);
    // The limit is ours to check, to the byte; the library's is a power of two.
    const int log = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound;
    CHECK(!ZSTD_isError(ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, log)));
  }
  ~ZstdEngine() override { ZSTD_freeDStream(stream_); }

  Result<size_t> Step(Input& input, std::span<char> out) override {
    if (between_frames_) {
      if (input.left().empty()) return size_t{0};
      TRY_STATUS(input.Peek(kZstdHeaderBytes));
      TRY_STATUS(AllowWindow(ZstdWindowBytes(input.left())));
    }
    ZSTD_inBuffer in{input.left().data(), input.left().size(), 0};
    ZSTD_outBuffer made{out.data(), out.size(), 0};
    const size_t hint = ZSTD_decompressStream(stream_, &made, &in);
    input.Consume(in.pos);
    if (ZSTD_isError(hint)) {
      if (ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation) {
        return ResourceExhausted("no memory for the window of a zstd stream");
      }
      return DataLoss(std::string("zstd stream is corrupt: ") + ZSTD_getErrorName(hint));
    }
    between_frames_ = hint == 0;
    return made.pos;
  }

  Status AtEnd() const override {
    if (between_frames_) return OkStatus();
    return DataLoss("zstd stream is truncated: it ends inside a frame");
  }

 private:
  Status AllowWindow(uint64_t window_bytes) {
    if (window_bytes > window_limit_bytes_) {
      return ResourceExhausted("zstd stream needs a window of " + FormatByteSize(window_bytes) +
                               ", above the limit of " + FormatByteSize(window_limit_bytes_));
    }
    if (window_bytes > kSmallWindowBytes) return large_window_.Acquire(stop_);
    return OkStatus();
  }

  const uint64_t window_limit_bytes_;
  const std::stop_token stop_;
  LargeWindow large_window_;
  ZSTD_DStream* stream_;
  bool between_frames_ = true;
};

Compression Detect(std::span<const char> start) {
  const auto begins = [&](std::string_view magic) {
    return std::string_view(start.data(), start.size()).starts_with(magic);
  };
  if (begins("\x1f\x8b\x08")) return Compression::kGzip;
  if (begins("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian, and a length.
  const bool skippable = start.size() >= 8 && (static_cast<uint8_t>(start[0]) & 0xf0) == 0x50 &&
                         std::memcmp(start.data() + 1, "\x2a\x4d\x18", 3) == 0;
  return skippable ? Compression::kZstd : Compression::kNone;
}

class Inflater final : public ByteSource {
 public:
  Inflater(ByteSource& source, Compression compression, uint64_t zstd_window_limit_bytes,
           std::stop_token stop)
      : input_(source),
        compression_(compression),
        zstd_window_limit_bytes_(zstd_window_limit_bytes),
        stop_(std::move(stop)) {}

  Result<size_t> Read(std::span<char> out) override {
    if (engine_ == nullptr) TRY_STATUS(Start());
    size_t made = 0;
    while (made < out.size()) {
      TRY_STATUS(input_.Refill());
      const size_t before = input_.left().size();
      const size_t step = TRY(engine_->Step(input_, out.subspan(made)));
      made += step;
      if (step > 0 || input_.left().size() != before) continue;
      if (before > 0) return DataLoss("compressed stream is corrupt: it makes no progress");
      TRY_STATUS(engine_->AtEnd());
      break;
    }
    return made;
  }

 private:
  Status Start() {
    if (compression_ != Compression::kNone) {
      TRY_STATUS(input_.Peek(kMagicBytes));
      compression_ = Detect(input_.left());
    }
    switch (compression_) {
      case Compression::kGzip:
        engine_ = std::make_unique<GzipEngine>();
        break;
      case Compression::kZstd:
        engine_ = std::make_unique<ZstdEngine>(zstd_window_limit_bytes_, stop_);
        break;
      default:
        engine_ = std::make_unique<PlainEngine>();
    }
    return OkStatus();
  }

  Input input_;
  Compression compression_;
  const uint64_t zstd_window_limit_bytes_;
  const std::stop_token stop_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<ByteSource> MakeInflater(ByteSource& source, Compression compression,
                                         uint64_t zstd_window_limit_bytes, std::stop_token stop) {
  return std::make_unique<Inflater>(source, compression, zstd_window_limit_bytes, std::move(stop));
}

}  // namespace hearth::plugin
