// Blob: the bytes of one digest, complete or still growing. One writer, any number of readers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/piece.h"
#include "base/status.h"

namespace hearth::store {

class Blob {
 public:
  enum class State : uint8_t {
    kGrowing,   // bytes are missing, or all are here and being verified
    kComplete,  // verified and synced
    kFailed,    // the writer gave up, or the digest was wrong; see failure()
  };
  virtual ~Blob() = default;

  virtual const Digest& digest() const = 0;
  virtual uint64_t size_bytes() const = 0;
  virtual State state() const = 0;
  // Why it failed; OK otherwise.
  virtual Status failure() const = 0;
  // The file, for pread and sendfile. Bytes beyond Available() are undefined.
  virtual std::shared_ptr<const Fd> file() const = 0;
  // Bytes that are there from `offset` on without a gap. While the blob grows they are not
  // verified.
  virtual uint64_t Available(uint64_t offset_bytes) const = 0;
  // Bytes present in all; for progress displays.
  virtual uint64_t PresentBytes() const = 0;

  // The lowest offset whose byte is missing and somebody waits for now; what is best fetched next.
  virtual std::optional<uint64_t> WantedOffset() const { return std::nullopt; }

  // Copies what is there at `offset`, waiting for at least one byte. 0 = the end of the blob.
  // Errors: failure(), kCancelled, kDeadlineExceeded. Blocks its thread: workers only.
  virtual Result<size_t> Read(uint64_t offset_bytes, std::span<char> out, std::stop_token stop,
                              Deadline deadline = Deadline::Never()) = 0;
  // Waits until complete (OK) or failed.
  virtual Status WaitComplete(std::stop_token stop, Deadline deadline = Deadline::Never()) = 0;
  // Holds no thread: `wake` runs once, from any thread (also directly), as soon as a byte at
  // `offset` is there or the blob is complete or failed. offset == size_bytes(): only the latter.
  virtual void WhenAvailable(uint64_t offset_bytes, std::function<void()> wake) = 0;

  // --- the writer ---
  // First byte that is missing: where a sequential fetch goes on. size_bytes() when none is.
  virtual uint64_t FirstMissing() const = 0;
  // Within one piece bytes come in order; pieces come in any order. kOutOfRange beyond the end,
  // kResourceExhausted: disk full. When the last byte is here, verification starts by itself and
  // ends in kComplete, or kFailed with kDataLoss (then the pieces are dropped).
  virtual Status Write(uint64_t offset_bytes, std::span<const char> data) = 0;
  // Asked before Write(), by a writer that can pause: false = the verification cannot keep up since
  // its pool is full; pause, and `resume` runs once, from any thread, when it is worth asking
  // again.
  virtual bool MayWrite(std::function<void()> resume) = 0;
  // The writer gives up; readers get `why`. Pieces stay for the next Grow(). No-op once complete.
  virtual void Fail(Status why) = 0;
};

}  // namespace hearth::store
