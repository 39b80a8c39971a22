#include "store/verify_queue.h"

#include <utility>

namespace hearth::store {

Status VerifyQueue::Submit(std::function<void()> task) {
  Begin();
  Status given = pool_.Submit(Counted(std::move(task)));
  if (!given.ok()) End();
  return given;
}

void VerifyQueue::SubmitSpare(std::function<void()> task) {
  Begin();
  const auto counted = Counted(std::move(task));
  if (!spare_.Submit(counted).ok()) counted();
}

void VerifyQueue::Join() {
  MutexLock lock(mutex_);
  while (tasks_ > 0) idle_.Wait(mutex_);
}

std::function<void()> VerifyQueue::Counted(std::function<void()> task) {
  return [this, task = std::move(task)] {
    task();
    End();
  };
}

void VerifyQueue::Begin() {
  MutexLock lock(mutex_);
  ++tasks_;
}

void VerifyQueue::End() {
  MutexLock lock(mutex_);
  if (--tasks_ == 0) idle_.NotifyAll();
}

}  // namespace hearth::store
