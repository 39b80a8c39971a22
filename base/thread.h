// Mutex, MutexLock, CondVar with clang's thread-safety annotations, and ThreadPool.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"

// Abseil (which gRPC's headers bring) defines two of these names too, with the same meaning.
#undef GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS
#if defined(__clang__)
#define HEARTH_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define HEARTH_THREAD_ANNOTATION(x)
#endif
#define CAPABILITY(x) HEARTH_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY HEARTH_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) HEARTH_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) HEARTH_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) HEARTH_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) HEARTH_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) HEARTH_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS HEARTH_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace hearth {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wait only in a loop over a condition; the mutex is held on entry and on return.
class CondVar {
 public:
  void Wait(Mutex& mutex) REQUIRES(mutex);
  // False when `deadline` passed first.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex);
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

// A fixed number of threads and a bounded queue of tasks, run in order of arrival.
class ThreadPool {
 public:
  struct Options {
    std::string name;  // of the threads, ≤ 15 characters
    size_t threads = 2;
    size_t queue_limit = 4096;  // tasks waiting; beyond it Submit says kResourceExhausted
  };
  explicit ThreadPool(Options options);
  // Runs what is queued, then joins.
  ~ThreadPool();

  // kResourceExhausted when the queue is full, kCancelled after Stop().
  Status Submit(std::function<void()> task);
  // Tasks that wait for a thread now.
  size_t waiting() const EXCLUDES(mutex_);
  // No new tasks; queued ones still run. Idempotent.
  void Stop();
  // Stop(), and returns when the last task has run. Never from a task of its own.
  void Join();

 private:
  void Run();

  const Options options_;
  mutable Mutex mutex_;
  CondVar work_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  Mutex join_mutex_;
  std::vector<std::thread> threads_ GUARDED_BY(join_mutex_);
};

// Names the calling thread, cut to 15 characters.
void NameThread(const std::string& name);

}  // namespace hearth
