// OrderHub: the jobs, and the nodes' order streams, behind one mutex.
//
// Jobs (the pure core) says what is to be done; here it is written down and sent. What a report
// settles is in the store before the node hears so; a job that ended is answered as ended only
// once that is written down. Any thread; no call waits for the network.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"
#include "base/thread.h"
#include "manager/ended_job.h"
#include "manager/fleet.h"
#include "manager/job.h"
#include "manager/job_feed.h"
#include "manager/job_request.h"
#include "manager/job_store.h"
#include "manager/jobs.h"
#include "manager/new_job.h"
#include "manager/sealer.h"
#include "manager/standing_book.h"
#include "manager/stream_link.h"
#include "net/grpc_tls.h"

namespace hearth::v1 {
class OrderId;
class OrderProgress;
class OrderReport;
class OrdersFromNode;
class OrdersHello;
class OrdersToNode;
}  // namespace hearth::v1

namespace hearth::manager {

using OrderLink = StreamLink<v1::OrdersToNode>;

class OrderHub {
 public:
  static constexpr uint32_t kProtocol = 1;
  static constexpr uint32_t kOldestProtocol = 1;
  static constexpr size_t kMaxTargets = 500'000;     // of all jobs under way …
  static constexpr size_t kMaxOutcomes = 4'000'000;  // … and of all their items: one may fail each
  static constexpr size_t kMaxStanding = 100;
  static constexpr std::chrono::seconds kStandingPause{5};  // until a node that came is asked
  static constexpr size_t kMaxResumedAtOnce = 8;            // standing ones, by one Tick()

  struct Options {
    Fleet& fleet;
    JobStore& store;
    const Sealer& sealer;
    const Clock& clock = RealClock();
    // Kept; those that were changed longest ago go first.
    size_t max_jobs = 10'000;
  };
  // Goes on with the jobs of before. kDataLoss: a record that cannot be read.
  static Result<std::unique_ptr<OrderHub>> Open(Options options);

  // --- the nodes' streams ---
  using SessionId = uint64_t;
  // Errors end the stream: kUnauthenticated: no node's certificate; kNotFound: forgotten;
  // kPermissionDenied: banned; kFailedPrecondition: no common protocol. An older stream of the node
  // is closed (kAborted).
  Result<SessionId> Open(const net::GrpcTlsPeer& peer, const v1::OrdersHello& hello,
                         std::shared_ptr<OrderLink> link) EXCLUDES(mutex_);
  Status Receive(SessionId session, const v1::OrdersFromNode& message) EXCLUDES(mutex_);
  void Closed(SessionId session) EXCLUDES(mutex_);
  // The node was forgotten or banned.
  void Lost(const std::string& node_id, const Status& why) EXCLUDES(mutex_);
  // No job that is made after this has returned asks the node. With `drain` its share of every job
  // under way ends; the node stays connected. kNotFound.
  Status Cordon(const std::string& node_id, const std::string& reason, bool drain) EXCLUDES(mutex_);
  // At least once a second.
  void Tick() EXCLUDES(mutex_);
  void CloseAll(const Status& why) EXCLUDES(mutex_);

  // --- jobs ---
  struct Origin {                 // of a job
    std::string idempotency_key;  // "" = none
    std::string request_sum;      // of the body
  };
  // The job of a key that came before; none: it did not. kAlreadyExists: with another request.
  Result<std::optional<JobId>> FindByKey(const Origin& origin) const EXCLUDES(mutex_);
  // Written down when it returns. With a key that came before: as FindByKey(). Errors as
  // ChooseTargets(); kResourceExhausted: too many jobs.
  Result<JobId> Create(const JobRequest& request, const Origin& origin) EXCLUDES(mutex_);
  // Pull jobs, each with name, document and spec: all of them, or none. No name may be in them
  // twice. kAlreadyExists: one of that name; kResourceExhausted; errors of `choose`.
  Result<std::vector<JobId>> CreateNamed(std::vector<NewJob> jobs) EXCLUDES(mutex_);
  Result<JobId> FindByName(const std::string& name) const EXCLUDES(mutex_);  // kNotFound
  // kNotFound. `read` must not call back.
  Status Read(JobId id, const std::function<void(const Job&)>& read) const EXCLUDES(mutex_);
  Result<JobState> StateOf(JobId id) const EXCLUDES(mutex_);  // kNotFound
  struct Page {
    std::vector<Job> heads;  // latest first
    size_t total = 0;        // that match
  };
  Result<Page> List(std::optional<JobState> state, size_t page, size_t per_page) const;
  struct NamedPage {
    std::vector<std::pair<Job, JobCounts>> heads;  // latest first; of those that ended no counts
    size_t total = 0;
  };
  Result<NamedPage> ListNamed(size_t page, size_t per_page) const;  // pull jobs
  // The node is no longer left out of jobs: standing preheats ask it, as one that came.
  void Returned(const std::string& node_id) EXCLUDES(mutex_);
  // The node held these blobs and does no more: standing preheats of them ask it.
  void Dropped(const std::string& node_id, std::span<const Digest> blobs) EXCLUDES(mutex_);
  Status SetBio(JobId id, const std::string& bio) EXCLUDES(mutex_);
  // A standing preheat is none any more. kNotFound; kFailedPrecondition: it has ended.
  Status Cancel(JobId id) EXCLUDES(mutex_);
  // What failed is tried again. kNotFound; kFailedPrecondition: under way, or nothing failed.
  Status Retry(JobId id) EXCLUDES(mutex_);
  // Cancels it where it is under way. kNotFound.
  Status Remove(JobId id) EXCLUDES(mutex_);

  // Of all of these changes.
  JobFeed& feed() { return feed_; }
  std::vector<Reading> Readings() const EXCLUDES(mutex_);

 private:
  struct Session {
    std::string node_id;
    std::shared_ptr<OrderLink> link;
  };

  explicit OrderHub(Options options) : options_(std::move(options)) {}
  Status Load() EXCLUDES(mutex_);
  Result<std::optional<JobId>> JobOfKey(const Origin& origin) const REQUIRES(mutex_);
  void RenewSealed(std::span<const JobId> ids) REQUIRES(mutex_);
  // Into the core, with its secrets.
  Status Begin(Job job) REQUIRES(mutex_);
  // kResourceExhausted: so many more under way are too many. `outcomes`: targets times items.
  Status CheckLoad(size_t jobs, size_t targets, size_t outcomes) const REQUIRES(mutex_);
  void MakeRoom(size_t jobs) REQUIRES(mutex_);
  // Numbers them, writes them down and begins.
  Result<std::vector<JobId>> Add(std::vector<NewJob> jobs) REQUIRES(mutex_);
  void Forget(const Job& head) REQUIRES(mutex_);  // its key and name
  size_t CountStanding() const REQUIRES(mutex_);
  // Begins the rounds that are due, and asks the nodes that came or lost something.
  void TendStanding(WallTime now) REQUIRES(mutex_);
  // Whether the job was, or should have been, resumed.
  bool TendStandingJob(JobId id, const std::vector<Node>& nodes, WallTime now) REQUIRES(mutex_);
  Status ResumeFor(JobId id, std::vector<Target> chosen, bool due, WallTime now) REQUIRES(mutex_);
  // Under way again. Not written down: it is tried again.
  enum class Writes : uint8_t { kAll, kRound };  // the whole job, or its head and who is asked
  Status Resume(Job job, Writes writes) REQUIRES(mutex_);
  // Names and addresses cut to what a list shows.
  Result<Job> HeadOf(JobId id) const REQUIRES(mutex_);
  // Does what the core asks for; false: something could not be written down.
  bool Apply() REQUIRES(mutex_);
  bool SaveTarget(JobId id, size_t target) REQUIRES(mutex_);
  bool SaveJob(JobId id) REQUIRES(mutex_);
  // What a full disk refused before.
  void SaveAgain() REQUIRES(mutex_);
  void SendOrder(const JobAction& action) REQUIRES(mutex_);
  void SendCancel(const JobAction& action) REQUIRES(mutex_);
  // Nodes that were banned by the word of others.
  void DropUntrusted() REQUIRES(mutex_);
  // The job under way that an order is of; nullptr: it is another one's, or gone.
  const Job* FindOrdered(const v1::OrderId& order) const REQUIRES(mutex_);
  OrderLink* LinkOf(const std::string& node_id) REQUIRES(mutex_);
  Status TakeReport(const Session& session, const v1::OrderReport& report) REQUIRES(mutex_);
  void End(SessionId id, const Status& why) REQUIRES(mutex_);
  void Leave(const std::string& node_id, const Status& why) REQUIRES(mutex_);

  const Options options_;
  JobFeed feed_;
  mutable Mutex mutex_;
  Jobs jobs_ GUARDED_BY(mutex_);
  std::map<JobId, EndedJob> ended_ GUARDED_BY(mutex_);
  // Of jobs under way:
  std::map<JobId, JobSecrets> secrets_ GUARDED_BY(mutex_);
  std::map<JobId, size_t> tasks_saved_ GUARDED_BY(mutex_);
  // Targets whose record is not written, tried again. Once it is, the node's report of that attempt
  // is settled; 0 = it did not report.
  std::map<JobId, std::map<size_t, uint32_t>> unsaved_ GUARDED_BY(mutex_);
  std::set<JobId> unsaved_heads_ GUARDED_BY(mutex_);
  StandingBook standing_ GUARDED_BY(mutex_);
  std::set<JobId> without_nodes_ GUARDED_BY(mutex_);  // standing ones, and it was said
  JobId tended_job_ GUARDED_BY(mutex_) = 0;
  WallTime tended_ GUARDED_BY(mutex_){};
  std::map<std::string, JobId> by_key_ GUARDED_BY(mutex_);
  std::map<std::string, JobId> by_name_ GUARDED_BY(mutex_);
  SessionId next_session_ GUARDED_BY(mutex_) = 1;
  std::map<SessionId, Session> sessions_ GUARDED_BY(mutex_);
  std::map<std::string, SessionId> by_node_ GUARDED_BY(mutex_);
};

}  // namespace hearth::manager
