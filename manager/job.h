// Job: a preheat as it was asked for, and how far each node is with it. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/status.h"
#include "manager/failure_tolerance.h"
#include "manager/text_pool.h"

namespace hearth::manager {

using JobId = uint64_t;

enum class JobKind : uint8_t { kImage, kFile };
enum class JobScope : uint8_t { kAllPeers, kAllSeedPeers, kSingleSeedPeer };
enum class JobState : uint8_t { kPending, kSuccess, kFailure };
enum class TargetState : uint8_t {
  kWaiting,  // for its node, a free slot, or the next attempt
  kRunning,  // sent, and not answered yet
  kDone,     // every copy verified
  kFailed,
};
std::string_view JobKindName(JobKind kind);             // "image"
std::string_view JobScopeName(JobScope scope);          // "all_peers"
std::string_view JobStateName(JobState state);          // "PENDING"
std::string_view TargetStateName(TargetState state);    // "waiting"
Result<JobKind> ParseJobKind(std::string_view name);    // kInvalidArgument lists the names
Result<JobScope> ParseJobScope(std::string_view name);  // also the names of older releases
Result<JobState> ParseJobState(std::string_view name);
Result<TargetState> ParseTargetState(std::string_view name);

struct JobItem {
  std::string url;                 // as shown: no secret is in it
  std::string reference;           // of an image
  std::string base_url;            // of an image: "https://HOST/v2/REPOSITORY"
  std::optional<bool> plain_http;  // of an image, as its URL says
  std::string task_id;             // of a file
};

inline constexpr uint64_t kDefaultPieceLength = 4ull << 20;

struct JobSpec {
  JobKind kind = JobKind::kImage;
  std::vector<JobItem> items;
  // Hashed into the task IDs.
  std::string tag;
  std::string application;
  std::string filter;  // "a&b"; "" = the default list
  uint64_t piece_length = kDefaultPieceLength;

  std::vector<std::string> platforms;  // empty = each node's own
  std::string depth;                   // "" = each node's default
  std::chrono::seconds pin{0};

  JobScope scope = JobScope::kAllPeers;
  std::vector<std::string> clusters;  // empty = all
  std::vector<std::string> nodes;     // by name; empty = all
  std::map<std::string, std::string> node_labels;
  std::vector<std::string> ips;
  uint32_t count = 0;       // at most so many nodes; 0 = all
  uint32_t percentage = 0;  // of them; 0 = all

  uint32_t concurrency = 500;                                    // nodes at once
  uint32_t parallel_items = 0;                                   // on one node; 0 = as it likes
  std::chrono::milliseconds timeout{std::chrono::minutes(60)};   // from the creation on
  uint32_t retries = 0;                                          // of one node
  FailureTolerance failure_tolerate = FailureTolerance::None();  // of the nodes
  // Of pull jobs: `timeout` is 0, and each node has this long from its first order on. What is
  // offline when all others have ended may still come for as long.
  std::chrono::milliseconds node_timeout{0};
  // Nodes that come, or come back, later are asked too, and all of them each `refresh`.
  bool keep = false;
  std::chrono::seconds refresh{0};        // of `keep`
  uint32_t priority = 0;                  // up to 10; jobs of a higher one go first
  bool dry_run = false;                   // of images: only look what is missing
  bool stop_early = false;                // no new node once too many failed
  bool check_cpu = false;                 // a node whose processors …
  bool check_memory = false;              // … or memory are busy is left alone
  std::vector<std::string> header_names;  // their values are in JobSecrets
};

// Of a registry.
struct ItemLogin {
  std::string username;
  std::string password;
  std::string identity_token;  // an OAuth2 refresh token
  bool empty() const { return username.empty() && identity_token.empty(); }
};

// Sealed wherever it is kept, and sent to the items' own hosts only.
struct JobSecrets {
  std::vector<std::string> urls;  // of files, as they were given
  std::string username;
  std::string password;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<ItemLogin> logins = {};  // one per item, or none; before username and password
};

// Something that a node can have: one URL.
struct JobTask {
  std::string url;
  std::string task_id;
  std::optional<Digest> digest;
  uint64_t size_bytes = 0;
  friend bool operator==(const JobTask&, const JobTask&) = default;
};

struct ItemFailure {
  uint32_t item = 0;
  StatusCode code = StatusCode::kUnknown;
  SharedText message;
  friend bool operator==(const ItemFailure&, const ItemFailure&) = default;
};

struct TargetBytes {
  uint64_t done = 0;
  uint64_t total = 0;
  uint64_t fetched = 0;  // of the total, what was not there before
  uint64_t peer = 0;
  uint64_t origin = 0;
  // Of a dry run:
  uint64_t missing = 0;
  uint64_t layers_missing = 0;  // a number: not unpacked
  friend bool operator==(const TargetBytes&, const TargetBytes&) = default;
};

void Add(const TargetBytes& more, TargetBytes& sum);
// Of what came: by the end told as fetched, until then by source.
uint64_t ReceivedOf(const TargetBytes& bytes);
uint64_t PresentOf(const TargetBytes& bytes);  // of what is done, what was there before

// A node's share.
struct Target {
  std::string node_id;
  std::string name;
  std::string host;  // its address
  std::string cluster;
  TargetState state = TargetState::kWaiting;
  uint32_t attempt = 1;  // numbers the orders; never used twice
  uint32_t failures = 0;
  std::vector<uint32_t> copies;  // verified; numbers of Job::tasks, ascending
  uint32_t unlisted = 0;         // verified beside them: the list of tasks is full
  uint32_t listed = 0;           // of Job::tasks, named by this node first
  std::vector<ItemFailure> why;  // of the last attempt that failed
  std::string depth;             // reached
  TargetBytes bytes;
  WallTime first_order{};  // since the manager's start; {} = none yet
};

struct Job {
  JobId id = 0;
  std::string task_id;   // "group_" and a UUID
  std::string name;      // of a pull job; "" of others
  std::string document;  // of a pull job, as JSON; not in heads
  std::string bio;
  JobState state = JobState::kPending;
  bool cancelled = false;
  std::string reason;  // of a failure, for people
  WallTime created{};
  WallTime updated{};
  WallTime refreshed{};  // all its nodes were asked: when it was made, and at each refresh
  WallTime deadline{};   // {} = none
  JobSpec spec;
  std::string sealed;  // JobSecrets; "" = none
  std::string idempotency_key;
  std::string request_sum;  // of the body that came with the key
  std::vector<Target> targets;
  std::vector<JobTask> tasks;
  uint64_t bytes_per_second = 0;  // that came lately; of a job under way
};

// What GET and the list need of a job without its targets.
struct JobCounts {
  size_t waiting = 0;
  size_t running = 0;
  size_t done = 0;
  size_t failed = 0;
  TargetBytes bytes;
  uint64_t present_bytes = 0;  // of those done, what was there before
  size_t total() const { return waiting + running + done + failed; }
};
JobCounts CountsOf(const Job& job);
// Of a job under way, at its rate of now; nodes that have not begun are taken for as large as the
// others. None: nothing comes, or how much there is is not known.
std::optional<std::chrono::seconds> TimeLeftOf(const Job& job);

}  // namespace hearth::manager
