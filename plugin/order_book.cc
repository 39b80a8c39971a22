#include "plugin/order_book.h"

#include <algorithm>
#include <limits>

#include "base/ascii.h"
#include "base/base64.h"
#include "base/log.h"
#include "base/log_line.h"
#include "base/raw_digest.h"
#include "oci/task_url.h"
#include "plugin/machine_load.h"

namespace hearth::plugin {

namespace {

// A report fits into a message of 1 MiB with these.
constexpr size_t kMaxMessageBytes = 1024;
constexpr int kMaxCopies = 14'000;  // of all items
constexpr std::chrono::seconds kMaxPin{std::chrono::hours(24 * 36'500)};
constexpr int kMaxPlatforms = 16;
constexpr int kMaxHeaders = 64;
constexpr std::chrono::milliseconds kCpuSample{100};

v1::ItemOutcome OutcomeOf(const Status& status) {
  v1::ItemOutcome outcome;
  outcome.set_code(static_cast<uint32_t>(status.code()));
  // Registries' words may be in it; the wire takes UTF-8 only.
  const std::string message = Printable(status.message());
  outcome.set_message(std::string(CutText(message, kMaxMessageBytes)));
  return outcome;
}

v1::ItemOutcome OutcomeOf(const PreheatResult& result, bool is_file) {
  v1::ItemOutcome outcome;
  for (const PreheatCopy& copy : result.copies) {
    v1::Copy& out = *outcome.add_copies();
    out.set_kind(is_file ? v1::Copy::FILE : copy.is_manifest ? v1::Copy::MANIFEST : v1::Copy::BLOB);
    out.set_digest(ToRaw(copy.digest));
    out.set_size_bytes(copy.size_bytes);
  }
  outcome.set_bytes_total(result.bytes_total);
  outcome.set_bytes_fetched(result.bytes_fetched);
  outcome.set_peer_bytes(result.peer_bytes);
  outcome.set_origin_bytes(result.origin_bytes);
  outcome.set_depth(std::string(DepthName(result.depth)));
  outcome.set_bytes_missing(result.bytes_missing);
  outcome.set_layers_missing(result.layers_missing);
  return outcome;
}

std::optional<std::chrono::seconds> PinOf(const v1::Order& order) {
  if (order.pin_seconds() == 0) return std::nullopt;
  return std::chrono::seconds(
      std::min<uint64_t>(order.pin_seconds(), static_cast<uint64_t>(kMaxPin.count())));
}

Result<PreheatRequest> ImageRequest(const v1::Order& order, const v1::OrderItem& item,
                                    Depth default_depth) {
  PreheatRequest request;
  request.look_only = item.has_look_at();
  request.reference = request.look_only ? item.look_at() : item.image();
  request.is_default_depth = order.depth().empty();
  request.depth = request.is_default_depth ? default_depth : TRY(ParseDepth(order.depth()));
  for (const std::string& platform : order.platforms()) {
    request.platforms.push_back(TRY(oci::Platform::Parse(platform)));
  }
  request.pin = PinOf(order);
  if (!item.username().empty() || !item.identity_token().empty()) {
    request.login.credential = {.username = item.username(),
                                .password = Secret(item.password()),
                                .identity_token = Secret(item.identity_token())};
  } else if (!order.username().empty()) {
    request.login.credential = {
        .username = order.username(), .password = Secret(order.password()), .identity_token = {}};
  }
  for (const v1::OrderHeader& header : order.headers()) {
    if (AsciiLower(header.name()) == "authorization") {
      request.login.authorization = Secret(header.value());
    }
  }
  if (item.has_plain_http()) request.login.plain_http = item.plain_http();
  return request;
}

Status CheckMachine(const v1::Order& order, std::stop_token stop) {
  if (order.check_memory()) TRY_STATUS(CheckMemory());
  if (order.check_cpu()) TRY_STATUS(CheckCpu(kCpuSample, std::move(stop)));
  return OkStatus();
}

FileRequest FileRequestOf(const v1::Order& order, const v1::OrderItem& item) {
  FileRequest request;
  request.url = item.file();
  for (const v1::OrderHeader& header : order.headers()) {
    request.headers.Add(header.name(), header.value());
  }
  if (!order.username().empty() && !request.headers.Has("Authorization")) {
    request.headers.Add("Authorization",
                        "Basic " + EncodeBase64(order.username() + ":" + order.password()));
  }
  if (!order.tag().empty()) request.labels.tag = order.tag();
  if (!order.application().empty()) request.labels.application = order.application();
  if (order.has_filter()) request.labels.filter = oci::ParseFilteredQueryParams(order.filter());
  if (order.piece_length() > 0) request.labels.piece_length = order.piece_length();
  return request;
}

}  // namespace

Status CheckOrder(const v1::Order& order) {
  if (order.items_size() == 0 || order.items_size() > OrderBook::kMaxItems) {
    return InvalidArgument("an order has 1 to 256 items");
  }
  if (order.platforms_size() > kMaxPlatforms || order.headers_size() > kMaxHeaders) {
    return InvalidArgument("an order with too many platforms or headers");
  }
  for (const v1::OrderItem& item : order.items()) {
    if (item.what_case() == v1::OrderItem::WHAT_NOT_SET) {
      return InvalidArgument("an item that this version does not know (upgrade the node)");
    }
  }
  return OkStatus();
}

OrderBook::OrderBook(Options options)
    : options_(std::move(options)),
      workers_({.name = "orders",
                .threads = options_.parallel,
                .queue_limit = kMaxOrders * static_cast<size_t>(kMaxItems)}) {}

OrderBook::~OrderBook() { Stop(); }

void OrderBook::Stop() {
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    send_ = nullptr;
    while (!entries_.empty()) Drop(Key(entries_.begin()->first), dropped);
  }
  StopAll(dropped);
  workers_.Join();
}

size_t OrderBook::size() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

void OrderBook::Connected(Send send, const v1::OrdersWelcome& welcome) {
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    send_ = std::move(send);
    DropUnwanted(welcome, dropped);
  }
  StopAll(dropped);
}

void OrderBook::DropUnwanted(const v1::OrdersWelcome& welcome, Dropped& dropped) {
  std::vector<Key> wanted;
  for (const v1::OrderId& id : welcome.wanted()) wanted.push_back(KeyOf(id));
  std::vector<Key> unwanted;
  for (const auto& [key, entry] : entries_) {
    if (std::ranges::find(wanted, key) == wanted.end()) {
      unwanted.push_back(key);
    } else if (entry->finished) {
      TellReport(*entry);
    }
  }
  for (const Key& key : unwanted) Drop(key, dropped);
}

void OrderBook::Disconnected() {
  MutexLock lock(mutex_);
  send_ = nullptr;
}

void OrderBook::Take(const v1::Order& order) {
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    if (!stopped_) Begin(order, dropped);
  }
  StopAll(dropped);
}

void OrderBook::Begin(const v1::Order& order, Dropped& dropped) {
  const Key key = KeyOf(order.id());
  if (const auto known = entries_.find(key); known != entries_.end()) {
    if (known->second->finished) TellReport(*known->second);
    return;
  }
  // An earlier attempt of the job is over, and so is another job that had its number.
  std::vector<Key> older;
  for (const auto& [other, entry] : entries_) {
    if (other.job == key.job) older.push_back(other);
  }
  for (const Key& other : older) Drop(other, dropped);

  const auto entry = std::make_shared<Entry>();
  entry->order = order;
  entry->outcomes.resize(static_cast<size_t>(order.items_size()));
  entry->progress.resize(static_cast<size_t>(order.items_size()));
  Status wrong = CheckOrder(order);
  if (wrong.ok() && entries_.size() >= kMaxOrders) {
    wrong = ResourceExhausted("the node has too many orders");
  }
  if (!wrong.ok()) {
    for (v1::ItemOutcome& outcome : entry->outcomes) outcome = OutcomeOf(wrong);
    TellReport(*entry);
    return;
  }
  LOG_INFO("order", {{"job", order.id().job()},
                     {"attempt", order.id().attempt()},
                     {"items", order.items_size()}});
  entries_[key] = entry;
  const auto life = std::chrono::milliseconds(
      std::min<uint64_t>(order.expires_in_milliseconds(), 1000ull * 3600 * 24 * 365));
  entry->timer = options_.timers.At(std::chrono::steady_clock::now() + life,
                                    [this, weak = std::weak_ptr<Entry>(entry)] {
                                      const auto late = weak.lock();
                                      if (!late) return;
                                      {
                                        MutexLock inner(mutex_);
                                        late->expired = true;
                                      }
                                      late->stop.request_stop();
                                    });
  StartItems(entry);
}

void OrderBook::StartItems(const std::shared_ptr<Entry>& entry) {
  const int items = entry->order.items_size();
  const int limit = entry->order.parallel_items() == 0
                        ? items
                        : static_cast<int>(std::min<uint32_t>(entry->order.parallel_items(),
                                                              static_cast<uint32_t>(items)));
  while (entry->next_item < items && entry->running < limit) {
    const int item = entry->next_item++;
    ++entry->running;
    const Status queued = workers_.Submit([this] { RunNext(); });
    if (queued.ok()) {
      const uint32_t rank = std::numeric_limits<uint32_t>::max() - entry->order.priority();
      waiting_[{rank, next_waiting_++}] = {entry, item};
    } else {
      EndItem(entry, item, OutcomeOf(queued));
    }
  }
}

void OrderBook::RunNext() {
  std::pair<std::shared_ptr<Entry>, int> next;
  {
    MutexLock lock(mutex_);
    next = std::move(waiting_.begin()->second);  // one for each call
    waiting_.erase(waiting_.begin());
  }
  RunItem(next.first, next.second);
}

void OrderBook::RunItem(const std::shared_ptr<Entry>& entry, int item) {
  const bool is_file = entry->order.items(item).has_file();
  const auto result = entry->stop.stop_requested() ? Result<PreheatResult>(Cancelled("cancelled"))
                                                   : Work(*entry, item);
  MutexLock lock(mutex_);
  Status status = result.status();
  if (entry->expired && status.code() == StatusCode::kCancelled) {
    status = DeadlineExceeded("the job's time is over");
  }
  if (!status.ok() && !entry->stop.stop_requested()) {
    LOG_WARNING("order failed",
                {{"job", entry->order.id().job()}, {"item", item}, {"error", status}});
  }
  v1::ItemOutcome outcome = result.ok() ? OutcomeOf(*result, is_file) : OutcomeOf(status);
  entry->copies += outcome.copies_size();
  if (entry->copies > kMaxCopies) {
    outcome = OutcomeOf(ResourceExhausted("more than 14000 blobs in one job (make several jobs)"));
  }
  EndItem(entry, item, std::move(outcome));
  StartItems(entry);
}

Result<PreheatResult> OrderBook::Work(Entry& entry, int item) {
  const v1::OrderItem& wanted = entry.order.items(item);
  const auto progress = [this, &entry, item](const PreheatProgress& now) {
    TellProgress(entry, item, now);
  };
  if (wanted.has_file()) {
    return options_.preheat_file(FileRequestOf(entry.order, wanted), PinOf(entry.order), progress,
                                 entry.stop.get_token());
  }
  // Once, before the order's own work makes the machine busy.
  std::call_once(entry.machine_checked,
                 [&entry] { entry.machine = CheckMachine(entry.order, entry.stop.get_token()); });
  TRY_STATUS(entry.machine);
  return options_.preheat_image(TRY(ImageRequest(entry.order, wanted, options_.default_depth)),
                                progress, entry.stop.get_token());
}

void OrderBook::TellProgress(Entry& entry, int item, const PreheatProgress& progress) {
  const SteadyTime now = std::chrono::steady_clock::now();
  MutexLock lock(mutex_);
  PreheatProgress& kept = entry.progress[static_cast<size_t>(item)];
  kept = progress;
  kept.layers.clear();
  if (!send_ || now < entry.told + kProgressInterval) return;
  entry.told = now;
  PreheatProgress sum;
  for (const PreheatProgress& one : entry.progress) {
    sum.bytes_done += one.bytes_done;
    sum.bytes_total += one.bytes_total;
    sum.peer_bytes += one.peer_bytes;
    sum.origin_bytes += one.origin_bytes;
  }
  v1::OrdersFromNode message;
  v1::OrderProgress& told = *message.mutable_progress();
  *told.mutable_order() = entry.order.id();
  told.set_bytes_done(sum.bytes_done);
  told.set_bytes_total(sum.bytes_total);
  told.set_peer_bytes(sum.peer_bytes);
  told.set_origin_bytes(sum.origin_bytes);
  send_(message);
}

void OrderBook::EndItem(const std::shared_ptr<Entry>& entry, int item, v1::ItemOutcome outcome) {
  entry->outcomes[static_cast<size_t>(item)] = std::move(outcome);
  --entry->running;
  if (entry->running > 0 || entry->next_item < entry->order.items_size()) return;
  entry->finished = true;
  // Dropped meanwhile: nobody wants to hear of it.
  const auto known = entries_.find(KeyOf(entry->order.id()));
  if (known != entries_.end() && known->second == entry) TellReport(*entry);
}

void OrderBook::TellReport(const Entry& entry) {
  if (!send_) return;
  v1::OrdersFromNode message;
  v1::OrderReport& report = *message.mutable_report();
  *report.mutable_order() = entry.order.id();
  for (const v1::ItemOutcome& outcome : entry.outcomes) *report.add_items() = outcome;
  send_(message);
}

void OrderBook::Cancel(const v1::OrderId& id) {
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    Drop(KeyOf(id), dropped);
  }
  StopAll(dropped);
}

void OrderBook::Settled(const v1::OrderId& id) { Cancel(id); }

void OrderBook::Drop(const Key& key, Dropped& dropped) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  options_.timers.Cancel(found->second->timer);
  dropped.push_back(std::move(found->second));
  entries_.erase(found);
}

// Whoever waits is told on this thread: never under the lock.
void OrderBook::StopAll(const Dropped& dropped) {
  for (const auto& entry : dropped) entry->stop.request_stop();
}

}  // namespace hearth::plugin
