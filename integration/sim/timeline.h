// Timeline: virtual time; what is to happen, in order of time, then of planning. One thread.
//
// A wheel of slots: most of what is planned is due within a round trip, and a million such events
// at once must not each cost a walk through a heap. Only the slot whose time it is, and what is
// planned beyond the wheel, is kept in order.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace hearth::sim {

class Timeline {
 public:
  Timeline() : slots_(kSlots, kNone) {}
  ~Timeline() {
    for (Heap* heap : {&due_, &far_}) {
      for (Planned& planned : *heap) planned.act(planned.state.data(), false);
    }
    for (uint32_t at : slots_) {
      for (; at != kNone; at = pool_[at].next) pool_[at].act(pool_[at].state.data(), false);
    }
  }
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  SteadyTime now() const { return now_; }
  double seconds() const { return std::chrono::duration<double>(now_ - SteadyTime{}).count(); }
  uint64_t steps() const { return steps_; }

  // Runs `event` at `time`, or now when that has passed.
  template <typename Event>
  void At(SteadyTime time, Event event) {
    Planned planned{std::max(time, now_), next_++, nullptr, kNone, {}};
    if constexpr (kFits<Event>) {
      new (planned.state.data()) Event(event);
      planned.act = [](std::byte* state, bool run) {
        if (run) (*std::launder(reinterpret_cast<Event*>(state)))();
      };
    } else {
      new (planned.state.data()) Event*(new Event(std::move(event)));
      planned.act = [](std::byte* state, bool run) {
        const std::unique_ptr<Event> owned(*std::launder(reinterpret_cast<Event**>(state)));
        if (run) (*owned)();
      };
    }
    Put(planned);
  }
  template <typename Event>
  void After(std::chrono::nanoseconds wait, Event event) {
    At(now_ + wait, std::move(event));
  }
  // False when nothing is planned.
  bool Step() {
    while (due_.empty()) {
      if (in_wheel_ == 0 && far_.empty()) return false;
      Turn();
    }
    std::ranges::pop_heap(due_, Later);
    Planned planned = due_.back();
    due_.pop_back();
    now_ = planned.time;
    ++steps_;
    planned.act(planned.state.data(), true);
    return true;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr int64_t kSlotNanoseconds = 1 << 15;
  static constexpr int64_t kSlots = 1 << 14;  // half a second in all
  struct Planned {
    SteadyTime time;
    uint64_t number;
    void (*act)(std::byte* state, bool run);  // or only forget
    uint32_t next = 0;                        // of its slot, in pool_
    alignas(8) std::array<std::byte, 56> state;
  };
  using Heap = std::vector<Planned>;
  template <typename Event>
  static constexpr bool kFits =
      std::is_trivially_copyable_v<Event>&& std::is_trivially_destructible_v<Event> &&
      sizeof(Event) <= sizeof(Planned::state) && alignof(Event) <= 8;

  static bool Later(const Planned& a, const Planned& b) {
    return std::pair(a.time, a.number) > std::pair(b.time, b.number);
  }
  static int64_t SlotOf(SteadyTime time) {
    return time.time_since_epoch().count() / kSlotNanoseconds;
  }
  static void Push(Heap& heap, const Planned& planned) {
    heap.push_back(planned);
    std::ranges::push_heap(heap, Later);
  }

  void Put(Planned planned) {
    const int64_t slot = SlotOf(planned.time);
    if (slot <= turn_) return Push(due_, planned);
    if (slot - turn_ >= kSlots) return Push(far_, planned);
    uint32_t& first = slots_[static_cast<size_t>(slot % kSlots)];
    planned.next = first;
    ++in_wheel_;
    if (free_ == kNone) {
      first = static_cast<uint32_t>(pool_.size());
      pool_.push_back(planned);
      return;
    }
    first = std::exchange(free_, pool_[free_].next);
    pool_[first] = planned;
  }
  // To the next slot; what was too far for the wheel and no longer is joins it.
  void Turn() {
    turn_ = in_wheel_ > 0 ? turn_ + 1 : SlotOf(far_.front().time);
    uint32_t at = std::exchange(slots_[static_cast<size_t>(turn_ % kSlots)], kNone);
    while (at != kNone) {
      due_.push_back(pool_[at]);
      const uint32_t next = std::exchange(pool_[at].next, free_);
      free_ = std::exchange(at, next);
      --in_wheel_;
    }
    std::ranges::make_heap(due_, Later);
    while (!far_.empty() && SlotOf(far_.front().time) - turn_ < kSlots) {
      std::ranges::pop_heap(far_, Later);
      Put(far_.back());
      far_.pop_back();
    }
  }

  SteadyTime now_{};
  uint64_t next_ = 0;
  uint64_t steps_ = 0;
  int64_t turn_ = 0;             // the slot whose time it is
  std::vector<uint32_t> slots_;  // the first of each, in pool_
  std::vector<Planned> pool_;
  uint32_t free_ = kNone;  // the first unused one of pool_
  size_t in_wheel_ = 0;
  Heap due_;
  Heap far_;
};

}  // namespace hearth::sim
