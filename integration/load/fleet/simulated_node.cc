#include "fleet/simulated_node.h"

#include <grpcpp/grpcpp.h>

#include "base/raw_digest.h"
#include "hearth/v1/orders.grpc.pb.h"
#include "hearth/v1/tracker.grpc.pb.h"
#include "p2p/enroll_client.h"

namespace hearth::load {

namespace {

constexpr uint32_t kProtocol = 1;
constexpr char kVersion[] = "0.1.0";
constexpr uint64_t kDiskBytes = 1ull << 40;
constexpr uint64_t kCopyBytes = 50'000'000;
constexpr size_t kDigestsPerInventory = 16'384;
// A thousand watches of one process would take a sixth of its time.
constexpr std::chrono::hours kReload{1};

v1::Versions Versions() {
  v1::Versions versions;
  versions.set_program(kVersion);
  versions.set_protocol_min(kProtocol);
  versions.set_protocol_max(kProtocol);
  return versions;
}

// What an image of three layers is to a manager: an index, a manifest, a config and the layers; the
// same on each node. A file is one copy.
v1::OrderReport ReportOf(const v1::Order& order) {
  v1::OrderReport report;
  *report.mutable_order() = order.id();
  for (const v1::OrderItem& item : order.items()) {
    v1::ItemOutcome& outcome = *report.add_items();
    const bool image = item.has_image();
    const std::string& name = image ? item.image() : item.file();
    const int copies = image ? 6 : 1;
    for (int i = 0; i < copies; ++i) {
      v1::Copy& copy = *outcome.add_copies();
      copy.set_kind(!image ? v1::Copy::FILE : i < 2 ? v1::Copy::MANIFEST : v1::Copy::BLOB);
      copy.set_digest(ToRaw(Digest::Of(name + "#" + std::to_string(i))));
      copy.set_size_bytes(kCopyBytes);
    }
    outcome.set_bytes_total(kCopyBytes * static_cast<uint64_t>(copies));
    outcome.set_bytes_fetched(outcome.bytes_total());
    outcome.set_peer_bytes(outcome.bytes_total());
    outcome.set_depth(image ? "image" : "blobs");
  }
  return report;
}

}  // namespace

std::string SimulatedNode::Name() const { return "sim-" + std::to_string(options_.number); }

// Thirty-two to a rack, eight racks to a zone.
v1::NodeInfo SimulatedNode::Info() const {
  v1::NodeInfo info;
  info.set_name(Name());
  (*info.mutable_labels())["rack"] = "r" + std::to_string(options_.number / 32);
  (*info.mutable_labels())["zone"] = "z" + std::to_string(options_.number / 256);
  const std::string host = "10.0." + std::to_string(options_.number / 250) + "." +
                           std::to_string(options_.number % 250 + 1);
  info.set_data_address(host + ":7734");
  info.set_control_address(host + ":7735");
  return info;
}

Status SimulatedNode::Join(const std::string& token) {
  const p2p::EnrollClient client(options_.folder);
  if (!client.Current().ok()) {
    const v1::NodeInfo info = Info();
    TRY_STATUS(client
                   .Join({options_.manager}, TRY(p2p::JoinTokenText::Parse(token)), "default",
                         {.name = info.name(),
                          .labels = {info.labels().begin(), info.labels().end()},
                          .data_address = info.data_address(),
                          .control_address = info.control_address(),
                          .program_version = kVersion})
                   .status());
  }
  tls_ = TRY(net::TlsWatch::Start(client.files(), kReload));
  return OkStatus();
}

void SimulatedNode::Connect() {
  MutexLock lock(mutex_);
  if (channel_ == nullptr) {
    channel_ = net::MakeTlsChannel(options_.manager, tls_, {.role = net::Role::kManager, .id = ""});
  }
  if (tracker_ == nullptr) OpenTracker();
  if (orders_ == nullptr) OpenOrders();
}

bool SimulatedNode::connected() const {
  MutexLock lock(mutex_);
  return tracker_welcome_ && orders_welcome_;
}

void SimulatedNode::OpenTracker() {
  const auto stub = std::make_shared<v1::Tracker::Stub>(channel_);
  tracker_ = Tracker::Start(
      [&stub](auto* context, auto* reactor) { stub->async()->Connect(context, reactor); },
      [this](const v1::ToNode& message) { HearTracker(message); },
      [this, stub](const grpc::Status& status) {
        options_.ended(status.error_message());
        MutexLock lock(mutex_);
        tracker_ = nullptr;
        tracker_welcome_ = false;
      });
  v1::FromNode message;
  *message.mutable_hello()->mutable_versions() = Versions();
  *message.mutable_hello()->mutable_node() = Info();
  tracker_->Send(std::move(message));
  SayInventory();
}

void SimulatedNode::OpenOrders() {
  const auto stub = std::make_shared<v1::Orders::Stub>(channel_);
  orders_ = Orders::Start(
      [&stub](auto* context, auto* reactor) { stub->async()->Connect(context, reactor); },
      [this](const v1::OrdersToNode& message) { HearOrders(message); },
      [this, stub](const grpc::Status& status) {
        options_.ended(status.error_message());
        MutexLock lock(mutex_);
        orders_ = nullptr;
        orders_welcome_ = false;
      });
  v1::OrdersFromNode message;
  *message.mutable_hello()->mutable_versions() = Versions();
  orders_->Send(std::move(message));
}

void SimulatedNode::SayInventory() {
  bool first = true;
  for (size_t i = 0; first || i < options_.held.size();) {
    v1::FromNode message;
    v1::Inventory& inventory = *message.mutable_inventory();
    inventory.set_first(std::exchange(first, false));
    for (size_t n = 0; i < options_.held.size() && n < kDigestsPerInventory; ++n, ++i) {
      inventory.mutable_added()->append(ToRaw(options_.held[i]));
    }
    inventory.set_last(i == options_.held.size());
    tracker_->Send(std::move(message));
  }
}

void SimulatedNode::HearTracker(const v1::ToNode& message) {
  if (message.has_welcome()) {
    MutexLock lock(mutex_);
    tracker_welcome_ = true;
  } else if (message.has_neighbours() || message.has_refused()) {
    options_.answered();
  }
}

void SimulatedNode::HearOrders(const v1::OrdersToNode& message) {
  {
    MutexLock lock(mutex_);
    if (message.has_welcome()) orders_welcome_ = true;
    if (message.has_cancel()) held_back_.erase(message.cancel().job());
    if (message.has_order()) held_back_[message.order().id().job()] = message.order();
  }
  if (!message.has_order()) return;
  // Whoever hears of it may ask for its report at once.
  const uint64_t job = message.order().id().job();
  if (options_.ordered(job)) Report(job);
}

void SimulatedNode::Beat() {
  MutexLock lock(mutex_);
  if (tracker_ == nullptr) return;
  v1::FromNode message;
  v1::Heartbeat& beat = *message.mutable_heartbeat();
  beat.set_disk_total_bytes(kDiskBytes);
  beat.set_disk_free_bytes(kDiskBytes / 2);
  beat.set_store_bytes(kDiskBytes / 4);
  tracker_->Send(std::move(message));
}

void SimulatedNode::JoinBlob(const Digest& blob, uint64_t size_bytes) {
  MutexLock lock(mutex_);
  if (tracker_ == nullptr) return;
  v1::FromNode message;
  v1::JoinBlob& join = *message.mutable_join();
  join.set_blob(ToRaw(blob));
  join.set_size_bytes(size_bytes);
  tracker_->Send(std::move(message));
}

bool SimulatedNode::Progress(uint64_t job, uint64_t bytes_done, uint64_t bytes_total) {
  MutexLock lock(mutex_);
  const auto order = held_back_.find(job);
  if (order == held_back_.end() || orders_ == nullptr) return false;
  v1::OrdersFromNode message;
  v1::OrderProgress& progress = *message.mutable_progress();
  *progress.mutable_order() = order->second.id();
  progress.set_bytes_done(bytes_done);
  progress.set_bytes_total(bytes_total);
  orders_->Send(std::move(message));
  return true;
}

bool SimulatedNode::Report(uint64_t job) {
  MutexLock lock(mutex_);
  const auto order = held_back_.extract(job);
  if (order.empty() || orders_ == nullptr) return false;
  v1::OrdersFromNode message;
  *message.mutable_report() = ReportOf(order.mapped());
  orders_->Send(std::move(message));
  return true;
}

void SimulatedNode::Stop() {
  MutexLock lock(mutex_);
  if (tracker_ != nullptr) tracker_->Cancel();
  if (orders_ != nullptr) orders_->Cancel();
}

}  // namespace hearth::load
