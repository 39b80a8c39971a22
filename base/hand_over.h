// HandOver: tells TSan of work that goes from thread to thread through a library that it does not
// see into, as gRPC is. What came before Give() is seen after Take(). Nothing in other builds.
#pragma once

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace hearth {

class HandOver {
 public:
#ifdef __SANITIZE_THREAD__
  void Give() { __tsan_release(this); }
  void Take() { __tsan_acquire(this); }
#else
  void Give() {}
  void Take() {}
#endif
};

}  // namespace hearth
