#include "base/thread.h"

#include <pthread.h>

#include <utility>

namespace hearth {

void CondVar::Wait(Mutex& mutex) {
  std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
  condition_.wait(lock);
  lock.release();
}

bool CondVar::WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
  const auto result = condition_.wait_until(lock, deadline);
  lock.release();
  return result == std::cv_status::no_timeout;
}

ThreadPool::ThreadPool(Options options) : options_(std::move(options)) {
  CHECK(options_.threads > 0);
  MutexLock lock(join_mutex_);
  threads_.reserve(options_.threads);
  for (size_t i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() { Join(); }

void ThreadPool::Join() {
  Stop();
  MutexLock lock(join_mutex_);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

Status ThreadPool::Submit(std::function<void()> task) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return Cancelled("pool " + options_.name + " is stopping");
    if (queue_.size() >= options_.queue_limit) {
      return ResourceExhausted("pool " + options_.name + ": " + std::to_string(queue_.size()) +
                               " tasks are waiting");
    }
    queue_.push_back(std::move(task));
  }
  work_.NotifyOne();
  return OkStatus();
}

size_t ThreadPool::waiting() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

void ThreadPool::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.NotifyAll();
}

void ThreadPool::Run() {
  NameThread(options_.name);
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

void NameThread(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
}

}  // namespace hearth
