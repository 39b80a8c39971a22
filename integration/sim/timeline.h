// Timeline: virtual time; what is to happen, in order of time, then of planning. One thread.
//
// A wheel of slots: most of what is planned is due within a round trip, and a million such events
// at once must not each cost a walk through a heap. Only the slot whose time it is, and what is
// planned beyond the wheel, is kept in order. What orders an event is kept apart from the event.
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
  Timeline() : slots_(kSlots) {}
  ~Timeline() {
    for (const Entry& entry : due_) Forget(entry);
    for (const Entry& entry : far_) Forget(entry);
    for (const auto& slot : slots_) {
      for (const Entry& entry : slot) Forget(entry);
    }
  }
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  SteadyTime now() const { return now_; }
  double seconds() const { return std::chrono::duration<double>(now_ - SteadyTime{}).count(); }
  uint64_t steps() const { return steps_; }

  // A place in the order of planning, for an event that is handed over later.
  uint64_t Reserve() { return next_++; }
  // Runs `event` at `time`, or now when that has passed.
  template <typename Event>
  void At(SteadyTime time, Event event) {
    At(time, Reserve(), std::move(event));
  }
  template <typename Event>
  void At(SteadyTime time, uint64_t reserved, Event event) {
    const uint32_t index = Unused();
    Planned& planned = pool_[index];
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
    Put({std::max(time, now_), reserved, index});
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
    const Entry entry = due_.back();
    due_.pop_back();
    now_ = entry.time;
    ++steps_;
    // A copy: what it plans may move the pool.
    Planned planned = pool_[entry.index];
    unused_.push_back(entry.index);
    planned.act(planned.state.data(), true);
    return true;
  }

 private:
  static constexpr int64_t kSlotNanoseconds = 1 << 15;
  static constexpr int64_t kSlots = 1 << 14;  // half a second in all
  struct Planned {
    void (*act)(std::byte* state, bool run) = nullptr;  // or only forget
    alignas(8) std::array<std::byte, 56> state;
  };
  struct Entry {
    SteadyTime time;
    uint64_t number = 0;
    uint32_t index = 0;  // in pool_
  };
  template <typename Event>
  static constexpr bool kFits =
      std::is_trivially_copyable_v<Event>&& std::is_trivially_destructible_v<Event> &&
      sizeof(Event) <= sizeof(Planned::state) && alignof(Event) <= 8;

  static bool Later(const Entry& a, const Entry& b) {
    return a.time != b.time ? a.time > b.time : a.number > b.number;
  }
  static int64_t SlotOf(SteadyTime time) {
    return time.time_since_epoch().count() / kSlotNanoseconds;
  }

  void Forget(const Entry& entry) {
    pool_[entry.index].act(pool_[entry.index].state.data(), false);
  }
  uint32_t Unused() {
    if (unused_.empty()) {
      pool_.emplace_back();
      return static_cast<uint32_t>(pool_.size() - 1);
    }
    const uint32_t index = unused_.back();
    unused_.pop_back();
    return index;
  }
  void Put(const Entry& entry) {
    const int64_t slot = SlotOf(entry.time);
    if (slot <= turn_) {
      due_.insert(std::ranges::lower_bound(due_, entry, Later), entry);
    } else if (slot - turn_ < kSlots) {
      slots_[static_cast<size_t>(slot % kSlots)].push_back(entry);
      ++in_wheel_;
    } else {
      far_.push_back(entry);
      std::ranges::push_heap(far_, Later);
    }
  }
  // To the next slot; what was too far for the wheel and no longer is joins it.
  void Turn() {
    turn_ = in_wheel_ > 0 ? turn_ + 1 : SlotOf(far_.front().time);
    due_ = std::exchange(slots_[static_cast<size_t>(turn_ % kSlots)], {});
    in_wheel_ -= due_.size();
    std::ranges::sort(due_, Later);
    while (!far_.empty() && SlotOf(far_.front().time) - turn_ < kSlots) {
      std::ranges::pop_heap(far_, Later);
      Put(far_.back());
      far_.pop_back();
    }
  }

  SteadyTime now_{};
  uint64_t next_ = 0;
  uint64_t steps_ = 0;
  int64_t turn_ = 0;  // the slot whose time it is
  std::vector<Planned> pool_;
  std::vector<uint32_t> unused_;  // of pool_
  std::vector<std::vector<Entry>> slots_;
  size_t in_wheel_ = 0;
  std::vector<Entry> due_;  // the next one last
  std::vector<Entry> far_;  // a heap
};

}  // namespace hearth::sim
