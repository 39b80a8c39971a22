#include "p2p/neighbour_stream.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace hearth::p2p {

namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxAddressBytes = 300;

}  // namespace

NeighbourStream::NeighbourStream(Cluster& cluster, PeerAddress peer, bool dialled,
                                 v1::NeighbourHello own, Hooks hooks)
    : cluster_(cluster),
      peer_(std::move(peer)),
      protocol_(own.versions().protocol_max()),
      dialled_(dialled),
      hooks_(std::move(hooks)) {
  MutexLock lock(mutex_);
  v1::NeighbourMessage hello;
  *hello.mutable_hello() = std::move(own);
  queued_bytes_ = hello.ByteSizeLong();
  queue_.push_back(std::move(hello));
}

void NeighbourStream::Send(const v1::NeighbourMessage& message) {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    const size_t bytes = message.ByteSizeLong();
    if (queued_bytes_ + bytes <= kMaxQueuedNeighbourBytes) {
      queued_bytes_ += bytes;
      queue_.push_back(message);
    } else {
      overflow_ = true;
    }
    if (sending_ && !overflow_) return;
  }
  MutexLock hook_lock(hook_mutex_);
  bool overflow = false;
  {
    MutexLock lock(mutex_);
    overflow = overflow_ && !std::exchange(closed_, true);
  }
  if (overflow && hooks_.close) {
    hooks_.close(ResourceExhausted("the neighbour does not read what it is told"));
  }
  if (!overflow && hooks_.send) hooks_.send();
}

void NeighbourStream::Close(const Status& why) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(closed_, true)) return;
  }
  MutexLock hook_lock(hook_mutex_);
  if (hooks_.close) hooks_.close(why);
}

const v1::NeighbourMessage* NeighbourStream::Front() {
  MutexLock lock(mutex_);
  if (sending_ || queue_.empty()) return nullptr;
  sending_ = true;
  return &queue_.front();  // a deque's front stays where it is while others are added
}

void NeighbourStream::Sent() {
  MutexLock lock(mutex_);
  sending_ = false;
  queued_bytes_ -= queue_.front().ByteSizeLong();
  queue_.pop_front();
}

Status NeighbourStream::Greet(const v1::NeighbourHello& hello) {
  if (hello.name().size() > kMaxNameBytes || hello.data_address().size() > kMaxAddressBytes ||
      hello.data_address().empty()) {
    return InvalidArgument("a Hello beyond its limits");
  }
  if (hello.versions().protocol_min() > kNeighbourProtocol) {
    return FailedPrecondition(
        "the neighbour speaks protocol " + std::to_string(hello.versions().protocol_min()) +
        " and newer, this node " + std::to_string(kNeighbourProtocol) + ": upgrade this node");
  }
  peer_.name = hello.name();
  peer_.data_address = hello.data_address();
  protocol_ = std::min(protocol_, std::max(1u, hello.versions().protocol_max()));
  return cluster_.OnLinkUp(shared_from_this());
}

bool NeighbourStream::Receive(const v1::NeighbourMessage& message) {
  {
    MutexLock lock(mutex_);
    if (closed_) return false;
  }
  Status status;
  if (!greeted_) {
    status = message.has_hello() ? Greet(message.hello())
                                 : InvalidArgument("the first message is no Hello");
    greeted_ = status.ok();
  } else {
    status = cluster_.OnMessage(*this, message);
  }
  if (status.ok()) return true;
  LOG_DEBUG("neighbour's stream closed", {{"node", peer_.id}, {"error", status}});
  Close(status);
  return false;
}

void NeighbourStream::Ended() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  {
    MutexLock hook_lock(hook_mutex_);
    hooks_ = {};
  }
  cluster_.OnLinkDown(*this);
}

}  // namespace hearth::p2p
