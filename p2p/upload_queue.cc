#include "p2p/upload_queue.h"

#include <algorithm>

namespace hearth::p2p {

namespace {

constexpr double kSmooth = 0.2;

}  // namespace

bool UploadQueue::Push(const Upload& upload, SteadyTime now) {
  if (waiting_.size() >= options_.max_waiting || OfPeer(upload.peer) >= options_.max_of_peer) {
    return false;
  }
  const double most =
      bytes_per_second_ * std::chrono::duration<double>(options_.queue_time).count();
  if (waiting_.size() >= kMinWaiting && static_cast<double>(waiting_bytes_ + upload.bytes) > most) {
    return false;
  }
  waiting_.push_back({upload, now});
  waiting_bytes_ += upload.bytes;
  return true;
}

std::optional<UploadQueue::Upload> UploadQueue::Next(SteadyTime now) {
  return Next(
      [this](UploadId id) {
        return std::ranges::find_if(waiting_, [&](const auto& it) { return it.upload.id == id; })
            ->upload.holders;
      },
      now);
}

std::optional<UploadQueue::Upload> UploadQueue::Next(const Holders& holders, SteadyTime now) {
  if (waiting_.empty() || sending_.size() >= options_.slots) return std::nullopt;
  auto next = waiting_.begin();
  if (now - next->since < kMaxWait) {
    next = std::ranges::min_element(waiting_, {},
                                    [&](const Waiting& entry) { return holders(entry.upload.id); });
  }
  const Upload upload = next->upload;
  waiting_.erase(next);
  waiting_bytes_ -= upload.bytes;
  if (sending_.empty()) last_done_ = now;
  sending_.push_back(upload);
  return upload;
}

// The rate is that of the whole uplink: what went out since the last piece did, whoever shared it.
void UploadQueue::Done(UploadId id, SteadyTime now) {
  const auto sent = std::ranges::find(sending_, id, &Upload::id);
  if (sent == sending_.end()) return;
  const double seconds = std::max(1e-6, std::chrono::duration<double>(now - last_done_).count());
  const double rate = static_cast<double>(sent->bytes) / seconds;
  bytes_per_second_ =
      bytes_per_second_ == 0 ? rate : 1 / ((1 - kSmooth) / bytes_per_second_ + kSmooth / rate);
  last_done_ = now;
  sending_.erase(sent);
}

bool UploadQueue::Cancel(UploadId id) {
  const auto waiting =
      std::ranges::find_if(waiting_, [&](const Waiting& entry) { return entry.upload.id == id; });
  if (waiting == waiting_.end()) {
    return std::erase_if(sending_, [&](const Upload& upload) { return upload.id == id; }) > 0;
  }
  waiting_bytes_ -= waiting->upload.bytes;
  waiting_.erase(waiting);
  return true;
}

void UploadQueue::RemovePeer(uint64_t peer) {
  std::erase_if(waiting_, [&](const Waiting& entry) {
    if (entry.upload.peer != peer) return false;
    waiting_bytes_ -= entry.upload.bytes;
    return true;
  });
  std::erase_if(sending_, [&](const Upload& upload) { return upload.peer == peer; });
}

size_t UploadQueue::OfPeer(uint64_t peer) const {
  const auto is_his = [&](const Upload& upload) { return upload.peer == peer; };
  return static_cast<size_t>(std::ranges::count_if(sending_, is_his)) +
         static_cast<size_t>(std::ranges::count_if(
             waiting_, [&](const Waiting& entry) { return is_his(entry.upload); }));
}

}  // namespace hearth::p2p
