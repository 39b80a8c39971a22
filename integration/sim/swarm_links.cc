// The links of a SwarmWorld: what was asked for waits, goes out and arrives.
#include <algorithm>
#include <utility>

#include "sim/swarm_world.h"

namespace hearth::sim {

namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kProgressEvery = std::chrono::milliseconds(500);
constexpr size_t kMaxSlices = 400;

double Seconds(nanoseconds time) { return std::chrono::duration<double>(time).count(); }
nanoseconds Time(double seconds) { return nanoseconds(static_cast<int64_t>(seconds * 1e9)); }

}  // namespace

void SwarmWorld::Asked(uint32_t from, uint32_t from_life, const Ask& ask) {
  Node& sender = nodes_[from];
  if (!sender.up || sender.life != from_life ||
      (from == origin_ && options_.origin_outage &&
       options_.origin_outage->Covers(timeline_.now()))) {
    Refuse(from, ask, p2p::Failure::kUnavailable);
    return;
  }
  if (from != origin_) {
    if (!At(from, ask.blob).download->picker().IsPresent(ask.run.first)) {
      Refuse(from, ask, p2p::Failure::kNotThere);
      return;
    }
    const p2p::UploadId id{sender.next_upload++};
    if (!sender.uploads.Push({id, ask.to, Bytes(ask.run.begin())}, timeline_.now())) {
      ++report_.busy_answers;
      Refuse(from, ask, p2p::Failure::kBusy);
      return;
    }
    sender.waiting.emplace_back(id, ask);
    report_.most_waiting = std::max(report_.most_waiting, sender.uploads.waiting());
    Send(from);
    return;
  }
  sender.queue.push_back(ask);
  Send(from);
}

void SwarmWorld::Refuse(uint32_t from, const Ask& ask, p2p::Failure why) {
  timeline_.After(RoundTrip(from, ask.to) / 2, [this, ask, why] {
    if (!IsLive(ask)) return;
    At(ask.to, ask.blob).download->Failed(ask.request, why, timeline_.now());
    Act(ask.to, ask.blob);
  });
}

// One piece on the link; the rest of a run waits for its next turn.
void SwarmWorld::Send(uint32_t from) {
  Node& sender = nodes_[from];
  if (sender.sending || !NextAsk(sender)) return;
  const Ask ask = *sender.sending;
  const nanoseconds length =
      Time(static_cast<double>(Bytes(ask.run.begin())) / sender.uplink) + options_.request_cost;
  Note(from, length);
  if (length > kProgressEvery) Progress(ask, RoundTrip(from, ask.to) / 2, length);
  timeline_.After(length, [this, from, life = sender.life] {
    if (nodes_[from].life == life) Sent(from);
  });
}

// Bytes arrive all the while, from `first` on for so long.
void SwarmWorld::Progress(const Ask& ask, nanoseconds first, nanoseconds length) {
  for (nanoseconds past{}; past < length; past += kProgressEvery) {
    timeline_.After(first + past, [this, ask] {
      if (!IsLive(ask)) return;
      At(ask.to, ask.blob)
          .download->Progress(ask.request, p2p::Download::kLeastBytes, timeline_.now());
    });
  }
}

p2p::UploadQueue SwarmWorld::NewQueue() const {
  if (options_.broken != Options::Broken::kQueues) return p2p::UploadQueue({1});
  constexpr size_t kNoLimit = 1 << 20;
  return p2p::UploadQueue({1, kNoLimit, kNoLimit, std::chrono::hours(1)});
}

bool SwarmWorld::NextAsk(Node& sender) {
  if (!sender.queue.empty()) {
    sender.sending = sender.queue.front();
    sender.queue.pop_front();
    return true;
  }
  const auto find = [&](p2p::UploadId id) {
    return std::ranges::find(sender.waiting, id, &std::pair<p2p::UploadId, Ask>::first);
  };
  const auto holders = [&](p2p::UploadId id) {
    const Ask& ask = find(id)->second;
    return sender.transfers[ask.blob].download->picker().Holders(ask.run.first);
  };
  const auto next = sender.uploads.Next(holders, timeline_.now());
  if (!next) return false;
  sender.upload = next->id;
  sender.sending = find(next->id)->second;
  sender.waiting.erase(find(next->id));
  return true;
}

void SwarmWorld::Note(uint32_t from, nanoseconds length) {
  const double slice_seconds = report_.bound_seconds * Report::kSliceOfBound;
  const auto slice = static_cast<size_t>(timeline_.seconds() / slice_seconds);
  if (slice >= kMaxSlices) return;
  while (report_.slices.size() <= slice) {
    if (!report_.slices.empty()) {
      report_.slices.back().have =
          static_cast<double>(kept_) / options_.nodes / static_cast<double>(left_origin_.size());
    }
    report_.slices.emplace_back();
  }
  const double share = Seconds(length) / slice_seconds;
  if (from == origin_) {
    report_.slices[slice].origin += share;
  } else {
    report_.slices[slice].uplinks += share / options_.nodes;
  }
}

void SwarmWorld::Sent(uint32_t from) {
  Node& sender = nodes_[from];
  Ask ask = *std::exchange(sender.sending, std::nullopt);
  sender.uploads.Done(sender.upload, timeline_.now());
  const uint32_t piece = ask.run.begin();
  if (from != origin_ && !At(from, ask.blob).download->picker().IsPresent(ask.run.first)) {
    Refuse(from, ask, p2p::Failure::kNotThere);  // dropped since
    Send(from);
    return;
  }
  Parcel parcel{ask, from, Content::kRight};
  if (from == origin_) {
    report_.origin_bytes += Bytes(piece);
  } else {
    const Transfer& transfer = At(from, ask.blob);
    parcel.content = sender.serves_garbage ? Content::kGarbage : transfer.content[piece];
    const bool right =
        transfer.sums ? transfer.sums->Expected(PieceIndex{piece}) == SumOf(piece, parcel.content)
                      : parcel.content == Content::kRight;
    report_.served_wrong += !right && !sender.lies() ? 1 : 0;
    if (sender.rack != nodes_[ask.to].rack) report_.cross_rack_bytes += Bytes(piece);
  }
  parcel.ask.run.count = 1;
  timeline_.After(RoundTrip(from, ask.to) / 2, [this, parcel] { Forward(parcel); });
  if (ask.run.count > 1) {
    ask.run = {PieceIndex{piece + 1}, ask.run.count - 1};
    sender.queue.push_back(ask);
  }
  Send(from);
}

// The next link on the parcel's way that others share, in the order of shared_. Null = it passes
// none there.
SwarmWorld::SharedLink* SwarmWorld::LinkOn(const Parcel& parcel) {
  const Node& from = nodes_[parcel.from];
  const Node& to = nodes_[parcel.ask.to];
  const bool within =
      parcel.passed == 1 || parcel.passed == 2 ? from.zone == to.zone : from.rack == to.rack;
  const bool up = parcel.passed < 2;
  if (within || (up && parcel.from == origin_)) return nullptr;
  const Node& end = up ? from : to;
  const bool of_zone = parcel.passed == 1 || parcel.passed == 2;
  SharedLink& link = shared_[parcel.passed][of_zone ? end.zone : end.rack];
  return link.rate > 0 ? &link : nullptr;
}

void SwarmWorld::Forward(Parcel parcel) {
  while (parcel.passed < shared_.size()) {
    SharedLink* const link = LinkOn(parcel);
    ++parcel.passed;
    if (link == nullptr) continue;
    const nanoseconds length =
        Time(static_cast<double>(Bytes(parcel.ask.run.begin())) / link->rate);
    link->free = std::max(link->free, timeline_.now() - length) + length;
    Progress(parcel.ask, {}, link->free - timeline_.now());
    timeline_.At(link->free, [this, parcel] { Forward(parcel); });
    return;
  }
  Arrive(parcel);
}

// The last byte is at the receiver's link, which lets pieces in one after the other.
void SwarmWorld::Arrive(const Parcel& parcel) {
  const uint64_t bytes = Bytes(parcel.ask.run.begin());
  if (!IsLive(parcel.ask)) {
    report_.wasted_bytes += bytes;
    return;
  }
  Node& receiver = nodes_[parcel.ask.to];
  const nanoseconds length = Time(static_cast<double>(bytes) / receiver.downlink);
  receiver.downlink_free = std::max(receiver.downlink_free, timeline_.now() - length) + length;
  timeline_.At(receiver.downlink_free, [this, parcel] { Store(parcel); });
}

void SwarmWorld::Store(const Parcel& parcel) {
  const Ask& ask = parcel.ask;
  const uint32_t piece = ask.run.begin();
  if (!IsLive(ask)) {
    report_.wasted_bytes += Bytes(piece);
    return;
  }
  Transfer& transfer = At(ask.to, ask.blob);
  const p2p::Picker& picker = transfer.download->picker();
  const bool kept = parcel.from == origin_ && picker.IsKept(PieceIndex{piece});
  const bool false_copy = parcel.from == origin_ && Falsify(ask.to) != Content::kRight;
  if (kept && transfer.sums && !false_copy && transfer.content[piece] != Content::kRight) {
    return Mismatch(ask.to, ask.blob);
  }
  if (kept && false_copy) transfer.content[piece] = Falsify(ask.to);
  const bool had = picker.IsPresent(PieceIndex{piece});
  const bool right = had || IsRight(parcel);
  transfer.download->PieceArrived(ask.request, PieceIndex{piece}, right, timeline_.now());
  if (had || !picker.IsPresent(PieceIndex{piece})) {
    report_.wasted_bytes += Bytes(piece);
  } else {
    transfer.content[piece] = false_copy ? Falsify(ask.to) : parcel.content;
    ++kept_;
    const uint32_t number = ask.blob * pieces_ + piece;
    if (!left_origin_[number]) {
      left_origin_[number] = true;
      --at_origin_;
      const double left =
          1 - static_cast<double>(at_origin_) / static_cast<double>(left_origin_.size());
      if (options_.origin_goes_when && left >= *options_.origin_goes_when) OriginGoes();
    }
  }
  if (nodes_[ask.to].full && 2 * picker.missing() < pieces_) {
    Stop(ask.to);
    Tell([this, node = ask.to] { tracker_.NodeGone(manager::NodeId{node}, timeline_.now()); });
    return;
  }
  Act(ask.to, ask.blob);
}

}  // namespace hearth::sim
