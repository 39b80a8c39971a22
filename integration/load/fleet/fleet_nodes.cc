// fleet_nodes: many simulated nodes in one process, told what to do by lines on stdin; says what
// happened as lines of JSON on stdout. Times are of CLOCK_MONOTONIC, in seconds.
//
//   fleet_nodes MANAGER JOIN_TOKEN_FILE FOLDER NODES BLOBS_OF_EACH DISTINCT_BLOBS
//
//   hold | release         orders from now on wait for `report`, or are reported as done at once
//   progress JOB NODE DONE TOTAL   node NODE tells of an order that is held
//   report JOB             all that hold it report it as done
//   join COUNT             every node joins the swarms of COUNT blobs
//   stop
#include <time.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "fleet/simulated_node.h"

namespace hearth::load {
namespace {

constexpr size_t kJoinThreads = 8;
constexpr size_t kMaxReasons = 100;
constexpr std::chrono::seconds kHeartbeat{5};
constexpr std::chrono::milliseconds kReconnect{200};
constexpr std::chrono::seconds kPatience{300};
constexpr uint64_t kSwarmBytes = 100'000'000;

double Now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

class Fleet {
 public:
  Fleet(std::string manager, std::filesystem::path folder, size_t nodes)
      : manager_(std::move(manager)), folder_(std::move(folder)), held_(nodes) {}

  Status Start(const std::string& token, size_t blobs, size_t distinct) {
    ChooseBlobs(blobs, distinct);
    for (size_t i = 0; i < held_.size(); ++i) {
      nodes_.push_back(std::make_unique<SimulatedNode>(
          SimulatedNode::Options{.number = i,
                                 .manager = manager_,
                                 .folder = folder_ / std::to_string(i),
                                 .held = held_[i],
                                 .ordered = [this](uint64_t job) { return Ordered(job); },
                                 .ended = [this](const std::string& why) { Ended(why); },
                                 .answered = [this] { Answered(); }}));
    }
    const double began = Now();
    TRY_STATUS(JoinAll(token));
    Say("joined", "\"seconds\": " + std::to_string(Now() - began));
    keeper_ = std::jthread([this](const std::stop_token& stop) { Keep(stop); });
    return OkStatus();
  }
  void Stop() {
    keeper_ = {};
    for (const auto& node : nodes_) node->Stop();
  }

  void Obey(std::istream& line) {
    std::string verb;
    uint64_t job = 0;
    size_t number = 0;
    line >> verb;
    if (verb == "hold" || verb == "release") {
      hold_ = verb == "hold";
      Say(verb, "");
    } else if (verb == "progress") {
      uint64_t done = 0;
      uint64_t total = 0;
      line >> job >> number >> done >> total;
      const double at = Now();
      const bool told = number < nodes_.size() && nodes_[number]->Progress(job, done, total);
      Say("progress", "\"told\": " + std::string(told ? "true" : "false"), at);
    } else if (verb == "report") {
      line >> job;
      const double at = Now();
      size_t reports = 0;
      for (const auto& node : nodes_) reports += node->Report(job) ? 1 : 0;
      Say("report", "\"nodes\": " + std::to_string(reports), at);
    } else if (verb == "join") {
      line >> number;
      JoinSwarms(number);
    } else {
      Say("unknown", "");
    }
  }

 private:
  static void Say(const std::string& event, const std::string& fields, double at = Now()) {
    static Mutex mutex;
    MutexLock lock(mutex);
    std::printf("{\"event\": \"%s\", \"at\": %.6f%s%s}\n", event.c_str(), at,
                fields.empty() ? "" : ", ", fields.c_str());
    std::fflush(stdout);
  }

  void ChooseBlobs(size_t blobs, size_t distinct) {
    std::vector<Digest> all;
    for (size_t i = 0; i < distinct; ++i) all.push_back(Digest::Of("blob " + std::to_string(i)));
    std::minstd_rand random(7);
    for (auto& held : held_) {
      for (size_t i = 0; i < blobs; ++i) held.push_back(all[random() % all.size()]);
    }
  }

  Status JoinAll(const std::string& token) {
    std::atomic<size_t> next = 0;
    Mutex mutex;
    Status failed;
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < kJoinThreads; ++i) {
        threads.emplace_back([&] {
          for (size_t n = next++; n < nodes_.size(); n = next++) {
            const Status joined = nodes_[n]->Join(token);
            MutexLock lock(mutex);
            if (!joined.ok()) failed = joined;
          }
        });
      }
    }
    return failed;
  }

  // Beats, and opens again what was lost.
  void Keep(const std::stop_token& stop) {
    auto beat = std::chrono::steady_clock::now();
    size_t before = 0;
    while (!stop.stop_requested()) {
      size_t connected = 0;
      for (const auto& node : nodes_) {
        node->Connect();
        connected += node->connected() ? 1 : 0;
      }
      if (connected == nodes_.size() && before != connected) Say("connected", "");
      before = connected;
      if (std::chrono::steady_clock::now() >= beat) {
        beat += kHeartbeat;
        for (const auto& node : nodes_) node->Beat();
      }
      std::this_thread::sleep_for(kReconnect);
    }
  }

  // Says when all nodes have a job's order.
  bool Ordered(uint64_t job) {
    const double now = Now();
    MutexLock lock(mutex_);
    const size_t count = ++orders_[job];
    if (count == nodes_.size()) {
      orders_.erase(job);
      Say("ordered", "\"job\": " + std::to_string(job), now);
    }
    return !hold_;
  }

  // The first of each reason, for the log.
  void Ended(const std::string& why) {
    MutexLock lock(mutex_);
    if (reasons_.size() < kMaxReasons && reasons_.insert(why).second) {
      std::cerr << "a stream ended: " << why << std::endl;
    }
  }

  void JoinSwarms(size_t count) {
    const size_t wanted = count * nodes_.size();
    answers_ = 0;
    wanted_ = wanted;
    const double began = Now();
    for (size_t i = 0; i < count; ++i) {
      const Digest blob = Digest::Of("swarm " + std::to_string(swarms_++));
      for (const auto& node : nodes_) node->JoinBlob(blob, kSwarmBytes);
    }
    MutexLock lock(mutex_);
    const auto patience = std::chrono::steady_clock::now() + kPatience;
    while (answers_ < wanted && changed_.WaitUntil(mutex_, patience)) {
    }
    Say("swarms", "\"joins\": " + std::to_string(answers_.load()) +
                      ", \"seconds\": " + std::to_string(Now() - began));
  }
  void Answered() {
    if (++answers_ < wanted_) return;
    MutexLock lock(mutex_);
    changed_.NotifyAll();
  }

  const std::string manager_;
  const std::filesystem::path folder_;
  std::vector<std::vector<Digest>> held_;
  std::vector<std::unique_ptr<SimulatedNode>> nodes_;
  std::atomic<bool> hold_ = false;
  std::atomic<size_t> answers_ = 0;
  std::atomic<size_t> wanted_ = 0;
  size_t swarms_ = 0;
  Mutex mutex_;
  CondVar changed_;
  std::set<std::string> reasons_ GUARDED_BY(mutex_);
  std::map<uint64_t, size_t> orders_ GUARDED_BY(mutex_);  // by job: nodes that have it
  std::jthread keeper_;
};

}  // namespace
}  // namespace hearth::load

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "fleet_nodes MANAGER TOKEN_FILE FOLDER NODES BLOBS_OF_EACH DISTINCT_BLOBS\n";
    return 2;
  }
  std::ifstream file(argv[2]);
  std::string token;
  std::getline(file, token);
  hearth::load::Fleet fleet(argv[1], argv[3], std::stoul(argv[4]));
  const auto started = fleet.Start(token, std::stoul(argv[5]), std::stoul(argv[6]));
  if (!started.ok()) {
    std::cerr << "fleet_nodes: " << started.message() << "\n";
    return 1;
  }
  std::string line;
  while (std::getline(std::cin, line) && line != "stop") {
    std::istringstream words(line);
    fleet.Obey(words);
  }
  fleet.Stop();
  std::_Exit(0);  // gRPC's threads may still hold nodes
}
