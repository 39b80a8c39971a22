// ByteRing: a bounded ring of fixed-size buffers from one producing thread to one or more reading
// ones, each of which gets all buffers in order.
//
// Each side holds at most one buffer at a time and works on it in place, so no byte is copied; a
// buffer is free again once all readers returned it. A side that sleeps is woken for a quarter of
// the ring, not for each buffer: the producer says with Push() when it is about to wait for
// something else. Cancel() may come from any thread and ends all waits. Buffers are allocated on
// first use. The ring outlives all threads' calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/thread.h"

namespace hearth::plugin {

class ByteRing {
 public:
  static constexpr size_t kBufferBytes = 256 * 1024;

  // At least 2 buffers are used, so that both sides can work at once.
  explicit ByteRing(size_t buffers, size_t readers = 1);

  // Producer: the next free buffer of kBufferBytes; waits for one. The error given to Cancel().
  Result<std::span<char>> AcquireForWrite();
  // Producer: hands over the first `size_bytes` (> 0) of the acquired buffer.
  void Publish(size_t size_bytes);
  // Producer: what was published does not wait for more.
  void Push();
  // Producer: nothing follows. Readers get what is published, then the end or `status`.
  void Finish(Status status);

  // A reader, numbered from 0: returns its previous buffer and waits for the next; empty at the
  // end.
  Result<std::span<const char>> Next(size_t reader = 0);

  // Ends every present and future wait with `status` (not OK). The first call counts.
  void Cancel(Status status);

 private:
  struct Slot {
    std::unique_ptr<char[]> bytes;
    size_t size_bytes = 0;
  };

  struct Reader {
    uint64_t returned = 0;  // buffers so far
    bool holds = false;     // the one after these
    CondVar readable;
  };

  size_t free() const REQUIRES(mutex_);

  std::vector<Slot> slots_;  // that of the n-th buffer is n mod their number
  const size_t worth_a_wake_;
  Mutex mutex_;
  CondVar freed_;                              // the producer waits for it
  uint64_t published_ GUARDED_BY(mutex_) = 0;  // buffers so far
  std::vector<Reader> readers_ GUARDED_BY(mutex_);
  bool finished_ GUARDED_BY(mutex_) = false;
  Status final_ GUARDED_BY(mutex_);      // what follows the last buffer
  Status cancelled_ GUARDED_BY(mutex_);  // not OK once cancelled
};

}  // namespace hearth::plugin
