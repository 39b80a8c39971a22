#include "plugin/order_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

namespace hearth::plugin {
namespace {

using testing::HasSubstr;

// Orders of images whose work a test lets end.
class OrderBookTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds kPatience{20};

  void SetUp() override { MakeBook(2); }
  void MakeBook(size_t parallel) {
    book_ = std::make_unique<OrderBook>(OrderBook::Options{
        .preheat_image = [this](const PreheatRequest& request, const auto& progress,
                                std::stop_token stop) { return Work(request, progress, stop); },
        .preheat_file =
            [this](const FileRequest& request, auto, const auto&, std::stop_token) {
              const std::lock_guard lock(mutex_);
              files_.push_back(request);
              return Result<PreheatResult>(ResultOf(Depth::kBlobs));
            },
        .timers = timers_,
        .parallel = parallel});
  }
  void TearDown() override {
    book_->Stop();
    timers_.Stop();
  }

  static PreheatResult ResultOf(Depth depth) {
    PreheatResult result;
    result.depth = depth;
    result.bytes_total = result.bytes_fetched = 7;
    PreheatCopy& copy = result.copies.emplace_back();
    copy.size_bytes = 7;
    copy.is_manifest = true;
    return result;
  }
  Result<PreheatResult> Work(const PreheatRequest& request,
                             const std::function<void(const PreheatProgress&)>& progress,
                             const std::stop_token& stop) {
    PreheatProgress now;
    now.bytes_done = 3;
    now.bytes_total = 7;
    progress(now);
    std::unique_lock lock(mutex_);
    requests_.push_back(request);
    changed_.notify_all();
    const std::stop_callback wake(stop, [this] { changed_.notify_all(); });
    while (held_ && !stop.stop_requested()) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
    }
    if (stop.stop_requested()) return Cancelled("stopped");
    if (!fails_.ok()) return fails_;
    return ResultOf(request.depth);
  }

  static v1::Order Order(uint64_t job, uint32_t attempt = 1, int items = 1) {
    v1::Order order;
    order.mutable_id()->set_job(job);
    order.mutable_id()->set_attempt(attempt);
    order.set_expires_in_milliseconds(3'600'000);
    for (int i = 0; i < items; ++i) order.add_items()->set_image("r/i:v");
    return order;
  }
  void Connect(std::vector<v1::OrderId> wanted = {}) {
    v1::OrdersWelcome welcome;
    for (const v1::OrderId& id : wanted) *welcome.add_wanted() = id;
    book_->Connected(
        [this](const v1::OrdersFromNode& message) {
          const std::lock_guard lock(sent_mutex_);
          if (message.has_report()) reports_.push_back(message.report());
          if (message.has_progress()) progress_.push_back(message.progress());
          sent_.notify_all();
        },
        welcome);
  }
  std::vector<v1::OrderReport> WaitForReports(size_t count) {
    std::unique_lock lock(sent_mutex_);
    EXPECT_TRUE(sent_.wait_for(lock, kPatience, [&] { return reports_.size() >= count; }));
    return reports_;
  }
  void WaitForWork(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return requests_.size() >= count; }));
  }
  void Hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

  TimerQueue timers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  Status fails_;
  std::vector<PreheatRequest> requests_;
  std::vector<FileRequest> files_;
  std::mutex sent_mutex_;
  std::condition_variable sent_;
  std::vector<v1::OrderReport> reports_;
  std::vector<v1::OrderProgress> progress_;
  std::unique_ptr<OrderBook> book_;  // ends before what it calls
};

TEST_F(OrderBookTest, WorksOnEachItemAndReportsItsCopies) {
  Connect();
  auto order = Order(1, 1, 3);
  order.set_username("joe");
  order.set_password("s3cret");
  order.add_platforms("linux/arm64");
  order.set_depth("layers");
  order.mutable_items(0)->set_plain_http(true);
  book_->Take(order);
  const auto report = WaitForReports(1).front();
  ASSERT_EQ(report.items_size(), 3);
  EXPECT_EQ(report.items(2).code(), 0u);
  EXPECT_EQ(report.items(2).depth(), "layers");
  EXPECT_EQ(report.items(2).copies(0).kind(), v1::Copy::MANIFEST);
  EXPECT_EQ(requests_[0].login.credential.username, "joe");
  EXPECT_EQ(requests_[0].platforms.size(), 1u);
  EXPECT_EQ(progress_.front().bytes_total(), 7u);
  book_->Settled(order.id());
  EXPECT_EQ(book_->size(), 0u);
}

TEST_F(OrderBookTest, TheSameOrderAgainIsNotDoneAgainAndTellsItsReportAgain) {
  Connect();
  book_->Take(Order(1));
  (void)WaitForReports(1);
  book_->Take(Order(1));
  EXPECT_EQ(WaitForReports(2).size(), 2u);
  EXPECT_EQ(requests_.size(), 1u);
}

TEST_F(OrderBookTest, AReportWaitsForTheManager) {
  Connect();
  Hold(true);
  book_->Take(Order(1));
  WaitForWork(1);
  book_->Disconnected();
  Hold(false);
  v1::OrderId id;
  id.set_job(1);
  id.set_attempt(1);
  // However long it takes to end: it is told now or when it ends.
  Connect({id});
  EXPECT_EQ(WaitForReports(1).front().items(0).code(), 0u);
}

TEST_F(OrderBookTest, WhatTheManagerDoesNotWantAnyMoreIsDropped) {
  Connect();
  Hold(true);
  book_->Take(Order(1));
  WaitForWork(1);
  Connect();
  EXPECT_EQ(book_->size(), 0u);
  book_->Take(Order(2));
  WaitForWork(2);
  book_->Cancel(Order(2).id());
  EXPECT_EQ(book_->size(), 0u);
  Hold(false);
  book_->Take(Order(3));
  EXPECT_EQ(WaitForReports(1).front().order().job(), 3u);
}

TEST_F(OrderBookTest, ANewerAttemptTakesThePlaceOfTheOlder) {
  Connect();
  Hold(true);
  book_->Take(Order(1, 1));
  WaitForWork(1);
  book_->Take(Order(1, 2));
  EXPECT_EQ(book_->size(), 1u);
  WaitForWork(2);
  Hold(false);
  EXPECT_EQ(WaitForReports(1).front().order().attempt(), 2u);
}

TEST_F(OrderBookTest, WhatWaitsGoesByPriorityThenByAge) {
  MakeBook(1);
  Connect();
  Hold(true);
  book_->Take(Order(1));
  WaitForWork(1);
  const auto take = [&](uint64_t job, uint32_t priority, const char* image) {
    auto order = Order(job);
    order.set_priority(priority);
    order.mutable_items(0)->set_image(image);
    book_->Take(order);
  };
  take(2, 0, "late");
  take(3, 5, "first");
  take(4, 5, "second");
  Hold(false);
  (void)WaitForReports(4);
  std::vector<std::string> images;
  for (const PreheatRequest& request : requests_) images.push_back(request.reference);
  EXPECT_EQ(images, (std::vector<std::string>{"r/i:v", "first", "second", "late"}));
}

// As after the manager's store was restored from a backup.
TEST_F(OrderBookTest, AnotherJobWithTheSameNumberIsAnotherOrder) {
  Connect();
  auto order = Order(1);
  order.mutable_id()->set_job_uid("before");
  book_->Take(order);
  (void)WaitForReports(1);
  order.mutable_id()->set_job_uid("after");
  book_->Take(order);
  EXPECT_EQ(WaitForReports(2).back().order().job_uid(), "after");
  EXPECT_EQ(requests_.size(), 2u);
  EXPECT_EQ(book_->size(), 1u);
}

TEST_F(OrderBookTest, StopsByItselfWhenTheJobsTimeIsOver) {
  Connect();
  Hold(true);
  auto order = Order(1);
  order.set_expires_in_milliseconds(1);
  book_->Take(order);
  const auto report = WaitForReports(1).front();
  EXPECT_EQ(report.items(0).code(), static_cast<uint32_t>(StatusCode::kDeadlineExceeded));
}

TEST_F(OrderBookTest, SaysWhyAnItemFailedInWordsThatTheWireTakes) {
  Connect();
  fails_ = NotFound("no such \xff image" + std::string(10'000, 'x'));
  book_->Take(Order(1));
  const auto report = WaitForReports(1).front();
  EXPECT_EQ(report.items(0).code(), static_cast<uint32_t>(StatusCode::kNotFound));
  EXPECT_THAT(report.items(0).message(), HasSubstr("no such \\xff image"));
  EXPECT_LE(report.items(0).message().size(), 1024u);
}

TEST_F(OrderBookTest, RefusesWhatItCannotRead) {
  Connect();
  auto unknown = Order(1);
  unknown.mutable_items(0)->clear_image();
  book_->Take(unknown);
  EXPECT_THAT(WaitForReports(1)[0].items(0).message(), HasSubstr("upgrade"));
  auto deep = Order(2);
  deep.set_depth("deep");
  book_->Take(deep);
  EXPECT_THAT(WaitForReports(2)[1].items(0).message(), HasSubstr("depth"));
  EXPECT_TRUE(requests_.empty());
}

TEST_F(OrderBookTest, AFileGetsItsHeadersAndItsName) {
  Connect();
  auto order = Order(1);
  order.mutable_items(0)->set_file("https://h/f?Signature=x");
  order.set_tag("t");
  order.set_piece_length(4194304);
  order.set_filter("a&b");
  auto& header = *order.add_headers();
  header.set_name("Authorization");
  header.set_value("token y");
  book_->Take(order);
  const auto report = WaitForReports(1).front();
  EXPECT_EQ(report.items(0).copies(0).kind(), v1::Copy::FILE);
  ASSERT_EQ(files_.size(), 1u);
  EXPECT_EQ(files_[0].headers.Get("Authorization"), "token y");
  EXPECT_EQ(files_[0].labels.tag, "t");
  EXPECT_EQ(files_[0].labels.filter->size(), 2u);
}

}  // namespace
}  // namespace hearth::plugin
