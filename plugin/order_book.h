// OrderBook: the manager's orders that this node works on.
//
// An order is known by its job's UUID and the attempt; the same one again changes nothing, or tells
// its report again. What a node is asked for while the manager is away goes on; the report waits.
// Everything is in memory: after a restart the manager sends its orders anew, and what is warm by
// then costs next to nothing. Any thread; no call waits for the work. Neither credentials nor URLs'
// signatures reach a log.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/thread.h"
#include "base/timer.h"
#include "hearth/v1/orders.pb.h"
#include "plugin/preheat.h"
#include "plugin/preheat_file.h"

namespace hearth::plugin {

class OrderBook {
 public:
  static constexpr size_t kMaxOrders = 256;
  static constexpr int kMaxItems = 256;
  static constexpr std::chrono::milliseconds kProgressInterval{1'000};

  struct Options {
    // The work itself; tests put their own in. `progress` and `stop` as Preheater::Run().
    std::function<Result<PreheatResult>(
        const PreheatRequest&, const std::function<void(const PreheatProgress&)>&, std::stop_token)>
        preheat_image;
    std::function<Result<PreheatResult>(const FileRequest&, std::optional<std::chrono::seconds> pin,
                                        const std::function<void(const PreheatProgress&)>&,
                                        std::stop_token)>
        preheat_file;
    TimerQueue& timers;
    Depth default_depth = Depth::kImage;
    size_t parallel = 4;  // items at once, over all orders
  };
  explicit OrderBook(Options options);
  ~OrderBook();

  // Takes messages for the manager; called with the book's lock held: must not block or call back.
  using Send = std::function<void(const v1::OrdersFromNode&)>;
  // A stream began: orders that are not among `wanted` are dropped, reports of the others told.
  void Connected(Send send, const v1::OrdersWelcome& welcome) EXCLUDES(mutex_);
  void Disconnected() EXCLUDES(mutex_);
  void Take(const v1::Order& order) EXCLUDES(mutex_);
  void Cancel(const v1::OrderId& id) EXCLUDES(mutex_);
  void Settled(const v1::OrderId& id) EXCLUDES(mutex_);

  // Cancels everything and joins the threads; nothing is reported. Idempotent.
  void Stop() EXCLUDES(mutex_);
  // Orders whose report the manager has not written down.
  size_t size() const EXCLUDES(mutex_);

 private:
  struct Key {
    uint64_t job = 0;
    uint32_t attempt = 0;
    std::string job_uid;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  static Key KeyOf(const v1::OrderId& id) { return {id.job(), id.attempt(), id.job_uid()}; }
  struct Entry {
    v1::Order order;
    std::stop_source stop;
    bool expired = false;
    int next_item = 0;
    int running = 0;
    int copies = 0;  // in them
    std::vector<v1::ItemOutcome> outcomes;
    std::vector<PreheatProgress> progress;
    SteadyTime told{};
    TimerQueue::Id timer = 0;
    bool finished = false;
    std::once_flag machine_checked;
    Status machine;  // of images
  };

  using Dropped = std::vector<std::shared_ptr<Entry>>;

  void Begin(const v1::Order& order, Dropped& dropped) REQUIRES(mutex_);
  void DropUnwanted(const v1::OrdersWelcome& welcome, Dropped& dropped) REQUIRES(mutex_);
  void StartItems(const std::shared_ptr<Entry>& entry) REQUIRES(mutex_);
  void RunNext() EXCLUDES(mutex_);
  void RunItem(const std::shared_ptr<Entry>& entry, int item) EXCLUDES(mutex_);
  Result<PreheatResult> Work(Entry& entry, int item);
  void TellProgress(Entry& entry, int item, const PreheatProgress& progress) EXCLUDES(mutex_);
  void EndItem(const std::shared_ptr<Entry>& entry, int item, v1::ItemOutcome outcome)
      REQUIRES(mutex_);
  void TellReport(const Entry& entry) REQUIRES(mutex_);
  void Drop(const Key& key, Dropped& dropped) REQUIRES(mutex_);
  static void StopAll(const Dropped& dropped);

  const Options options_;
  mutable Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  Send send_ GUARDED_BY(mutex_);
  std::map<Key, std::shared_ptr<Entry>> entries_ GUARDED_BY(mutex_);
  // Items that wait for a worker, by falling priority, then age.
  std::map<std::pair<uint32_t, uint64_t>, std::pair<std::shared_ptr<Entry>, int>> waiting_
      GUARDED_BY(mutex_);
  uint64_t next_waiting_ GUARDED_BY(mutex_) = 0;
  ThreadPool workers_;
};

// What is wrong with an order: kInvalidArgument. Pure.
Status CheckOrder(const v1::Order& order);

}  // namespace hearth::plugin
