// Mail: what the nodes of a SwarmWorld tell their neighbours, until these read it.
//
// A node reads what came within kSlot at once. So it is sorted by reader and not by time: in a
// swarm of ten thousand every message on its own would fetch its reader's state from memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/piece.h"
#include "p2p/download.h"
#include "sim/parcel.h"

namespace hearth::sim {

class Mail {
 public:
  static constexpr std::chrono::nanoseconds kSlot = std::chrono::microseconds(500);
  using Pieces = std::vector<std::pair<PieceIndex, Content>>;

  // What one node says; not every neighbour is told all of it.
  struct News {
    uint32_t from = 0;
    uint32_t blob = 0;
    uint32_t unread = 0;  // letters
    Pieces pieces;
  };
  struct Letter {
    News* news = nullptr;
    uint32_t to = 0;
    p2p::SourceId source{};  // what the sender is there
    uint32_t first = 0;      // of the pieces that it is told of
  };

  // Nothing is longer on its way than `longest`.
  Mail(uint32_t nodes, std::chrono::nanoseconds longest)
      : begins_(nodes + 1), slots_(static_cast<size_t>(longest / kSlot) + 3) {}

  News& Write(uint32_t from, uint32_t blob) {
    if (free_.empty()) free_.push_back(&news_.emplace_back());
    News& news = *free_.back();
    free_.pop_back();
    news.from = from;
    news.blob = blob;
    news.pieces.clear();
    return news;
  }
  // When it is read; true: nothing else is read then as yet.
  bool Post(const Letter& letter, SteadyTime arrives, SteadyTime& read) {
    const auto number = (arrives - SteadyTime{} + kSlot - std::chrono::nanoseconds(1)) / kSlot;
    read = SteadyTime{} + number * kSlot;
    auto& slot = slots_[static_cast<size_t>(number) % slots_.size()];
    slot.push_back(letter);
    ++letter.news->unread;
    return slot.size() == 1;
  }
  // All that is read at that time, by reader, then in the order of posting; valid until the next
  // call.
  const std::vector<Letter>& Deliver(SteadyTime read) {
    auto& slot = slots_[static_cast<size_t>((read - SteadyTime{}) / kSlot) % slots_.size()];
    begins_.assign(begins_.size(), 0);
    for (const Letter& letter : slot) ++begins_[letter.to + 1];
    for (size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    sorted_.resize(slot.size());
    for (const Letter& letter : slot) sorted_[begins_[letter.to]++] = letter;
    slot.clear();
    return sorted_;
  }
  void Read(News& news) {
    if (--news.unread == 0) free_.push_back(&news);
  }

 private:
  std::deque<News> news_;
  std::vector<News*> free_;
  std::vector<uint32_t> begins_;  // of Deliver()
  std::vector<Letter> sorted_;
  std::vector<std::vector<Letter>> slots_;
};

}  // namespace hearth::sim
