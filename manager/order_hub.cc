#include "manager/order_hub.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "hearth/v1/orders.pb.h"
#include "manager/job_secrets.h"
#include "manager/order_messages.h"

namespace hearth::manager {

namespace {

constexpr size_t kRenewedAtOnce = 256;

// Of what both sides speak, the newest.
Result<uint32_t> CommonProtocol(const v1::Versions& theirs) {
  const uint32_t newest = std::min(theirs.protocol_max(), OrderHub::kProtocol);
  if (newest >= std::max(theirs.protocol_min(), OrderHub::kOldestProtocol)) return newest;
  return FailedPrecondition("no protocol of orders that both sides speak (upgrade the older one)");
}

}  // namespace

// --- jobs of before ---

Result<std::unique_ptr<OrderHub>> OrderHub::Open(Options options) {
  std::unique_ptr<OrderHub> hub(new OrderHub(options));
  TRY_STATUS(hub->Load());
  return hub;
}

Status OrderHub::Load() {
  MutexLock lock(mutex_);
  std::vector<JobId> under_way;
  std::vector<JobId> sealed_otherwise;
  TRY_STATUS(options_.store.ForHeads([&](const Job& head) NO_THREAD_SAFETY_ANALYSIS {
    if (!head.idempotency_key.empty()) by_key_[head.idempotency_key] = head.id;
    if (!head.name.empty()) by_name_[head.name] = head.id;
    if (head.state == JobState::kPending) {
      under_way.push_back(head.id);
    } else {
      ended_[head.id] = EndedJob::Of(head);
    }
    const auto renewed = RenewSecrets(options_.sealer, head);
    if (!renewed.ok()) {
      LOG_WARNING("a job's credentials cannot be read",
                  {{"job", head.id}, {"error", renewed.status()}});
    } else if (*renewed) {
      sealed_otherwise.push_back(head.id);
    }
  }));
  RenewSealed(sealed_otherwise);
  for (const auto& [id, ended] : ended_) {
    if (!ended.standing) continue;
    auto tasks = options_.store.Tasks(id);
    if (!tasks.ok()) {
      LOG_ERROR("losses of a standing preheat are not seen before its next refresh",
                {{"job", id}, {"error", tasks.status()}});
      continue;
    }
    standing_.Keep(id, *std::move(tasks));
  }
  for (const JobId id : under_way) TRY_STATUS(Begin(TRY(options_.store.Load(id))));
  (void)Apply();
  return OkStatus();
}

// After each start all is sealed with the first key of the file, but for what no key opens.
void OrderHub::RenewSealed(std::span<const JobId> ids) {
  const auto renew = [this](std::span<const JobId> some) -> Status {
    std::vector<Job> heads;
    for (const JobId id : some) {
      Job& head = heads.emplace_back(TRY(options_.store.Head(id)));
      if (auto sealed = TRY(RenewSecrets(options_.sealer, head))) head.sealed = *std::move(sealed);
    }
    return options_.store.SaveHeads(heads);
  };
  for (size_t done = 0; done < ids.size(); done += kRenewedAtOnce) {
    const Status kept = renew(ids.subspan(done, std::min(kRenewedAtOnce, ids.size() - done)));
    if (kept.ok()) continue;
    LOG_WARNING("the credentials of jobs are not sealed with the first key", {{"error", kept}});
    return;
  }
  if (ids.empty()) return;
  LOG_INFO("sealed the credentials of jobs with the first key", {{"jobs", ids.size()}});
}

Status OrderHub::Begin(Job job) {
  const JobId id = job.id;
  const auto secrets = OpenSecrets(options_.sealer, job);
  secrets_[id] = secrets.ok() ? *secrets : JobSecrets{};
  tasks_saved_[id] = job.tasks.size();
  if (IsStanding(job)) standing_.Keep(id, job.tasks);
  const Status added = jobs_.Add(std::move(job));
  if (!added.ok()) {
    secrets_.erase(id);
    tasks_saved_.erase(id);
    return added;
  }
  // One whose last node had ended already needs none.
  const bool settled = jobs_.Find(id)->state != JobState::kPending;
  if (secrets.ok() || settled) return OkStatus();
  LOG_ERROR("a job cannot go on: its credentials cannot be read",
            {{"job", id}, {"error", secrets.status()}});
  return jobs_.Abort(id, secrets.status().Annotate("its credentials"), options_.clock.WallNow());
}

// --- the nodes' streams ---

Result<OrderHub::SessionId> OrderHub::Open(const net::GrpcTlsPeer& peer,
                                           const v1::OrdersHello& hello,
                                           std::shared_ptr<OrderLink> link) {
  if (peer.identity.role != net::Role::kNode) {
    return Unauthenticated("only nodes take orders");
  }
  const uint32_t protocol = TRY(CommonProtocol(hello.versions()));
  const Node node = TRY(options_.fleet.Find(peer.identity.id));
  if (node.banned) return PermissionDenied("this node is banned: " + node.ban_reason);
  if (node.cluster != peer.identity.cluster) {
    return PermissionDenied("this certificate is for another cluster");
  }
  MutexLock lock(mutex_);
  if (const auto older = by_node_.find(node.id); older != by_node_.end()) {
    End(older->second, Aborted("this node opened a newer stream"));
  }
  const SessionId id = next_session_++;
  sessions_[id] = {node.id, std::move(link)};
  by_node_[node.id] = id;
  v1::OrdersToNode message;
  v1::OrdersWelcome& welcome = *message.mutable_welcome();
  welcome.set_protocol(protocol);
  for (const auto& [job, attempt] : jobs_.Wanted(node.id)) {
    *welcome.add_wanted() = MakeOrderId(*jobs_.Find(job), attempt);
  }
  sessions_[id].link->Send(message);
  jobs_.Online(node.id);
  standing_.Came(node.id);
  (void)Apply();
  return id;
}

Status OrderHub::Receive(SessionId session, const v1::OrdersFromNode& message) {
  MutexLock lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return Aborted("the stream is over");
  switch (message.what_case()) {
    case v1::OrdersFromNode::kHello:
      return InvalidArgument("a second Hello");
    case v1::OrdersFromNode::kProgress: {
      const v1::OrderProgress& said = message.progress();
      if (FindOrdered(said.order()) == nullptr) return OkStatus();
      const TargetBytes bytes{.done = said.bytes_done(),
                              .total = said.bytes_total(),
                              .fetched = 0,
                              .peer = said.peer_bytes(),
                              .origin = said.origin_bytes()};
      const JobId id = said.order().job();
      if (jobs_.Progress(found->second.node_id, id, said.order().attempt(), bytes,
                         options_.clock.WallNow())) {
        feed_.Changed(id);
      }
      return OkStatus();
    }
    case v1::OrdersFromNode::kReport:
      return TakeReport(found->second, message.report());
    case v1::OrdersFromNode::WHAT_NOT_SET:
      return OkStatus();  // of a newer protocol
  }
  return OkStatus();
}

Status OrderHub::TakeReport(const Session& session, const v1::OrderReport& report) {
  const JobId id = report.order().job();
  const auto link = session.link;  // Apply() may end the session
  const std::string node_id = session.node_id;
  if (const Job* job = FindOrdered(report.order()); job != nullptr) {
    auto items = ReadReport(job->spec, report);
    // What cannot be read is no proof of anything: each item failed.
    if (!items.ok()) items = std::vector<ItemOutcome>(job->spec.items.size(), {items.status()});
    jobs_.Report(node_id, id, report.order().attempt(), *items, options_.clock.WallNow());
    (void)Apply();
    if (const auto unsaved = unsaved_.find(id); unsaved != unsaved_.end()) {
      for (auto& [target, attempt] : unsaved->second) {
        if (jobs_.Find(id)->targets[target].node_id != node_id) continue;
        attempt = report.order().attempt();
        return OkStatus();
      }
    }
  }
  v1::OrdersToNode settled;
  *settled.mutable_settled() = report.order();
  link->Send(settled);
  return OkStatus();
}

void OrderHub::Closed(SessionId session) {
  MutexLock lock(mutex_);
  End(session, Cancelled("the stream is over"));
  (void)Apply();
}

void OrderHub::End(SessionId id, const Status& why) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const std::string node_id = found->second.node_id;
  found->second.link->Close(why);
  sessions_.erase(found);
  by_node_.erase(node_id);
  jobs_.Offline(node_id);
}

void OrderHub::Lost(const std::string& node_id, const Status& why) {
  MutexLock lock(mutex_);
  if (const auto session = by_node_.find(node_id); session != by_node_.end()) {
    End(session->second, why);
  }
  Leave(node_id, why);
  (void)Apply();
}

void OrderHub::Leave(const std::string& node_id, const Status& why) {
  jobs_.Lost(node_id, why, options_.clock.WallNow());
  standing_.Forget(node_id);
}

// Under the lock that jobs are made under, from the choice of their nodes to their orders.
Status OrderHub::Cordon(const std::string& node_id, const std::string& reason, bool drain) {
  MutexLock lock(mutex_);
  TRY_STATUS(options_.fleet.SetCordon(node_id, true, reason));
  if (!drain) return OkStatus();
  jobs_.Drain(node_id, Aborted("the node is drained: " + reason), options_.clock.WallNow());
  (void)Apply();
  return OkStatus();
}

void OrderHub::CloseAll(const Status& why) {
  MutexLock lock(mutex_);
  while (!sessions_.empty()) End(sessions_.begin()->first, why);
  (void)Apply();
}

void OrderHub::DropUntrusted() {
  std::vector<std::pair<std::string, Status>> lost;
  for (const auto& [node_id, session] : by_node_) {
    const auto node = options_.fleet.Find(node_id);
    if (!node.ok()) {
      lost.emplace_back(node_id, NotFound("the node was forgotten"));
    } else if (node->banned) {
      lost.emplace_back(node_id, PermissionDenied("the node is banned: " + node->ban_reason));
    }
  }
  for (const auto& [node_id, why] : lost) {
    End(by_node_.at(node_id), why);
    Leave(node_id, why);
  }
}

void OrderHub::Tick() {
  MutexLock lock(mutex_);
  DropUntrusted();
  SaveAgain();
  jobs_.Tick(options_.clock.WallNow());
  TendStanding(options_.clock.WallNow());
  (void)Apply();
}

// --- what the core asks for ---

bool OrderHub::Apply() {
  bool kept = true;
  // Sending may end a session, of which the core hears.
  for (auto actions = jobs_.Take(); !actions.empty(); actions = jobs_.Take()) {
    for (const JobAction& action : actions) {
      if (jobs_.Find(action.job) != nullptr) feed_.Changed(action.job);
      switch (action.kind) {
        case JobAction::Kind::kSend:
          SendOrder(action);
          break;
        case JobAction::Kind::kCancel:
          SendCancel(action);
          break;
        case JobAction::Kind::kSaveTarget:
          kept = SaveTarget(action.job, action.target) && kept;
          break;
        case JobAction::Kind::kSaveJob:
          kept = SaveJob(action.job) && kept;
          break;
        case JobAction::Kind::kShow:
          break;  // as of all others, readers are told
      }
    }
  }
  return kept;
}

bool OrderHub::SaveTarget(JobId id, size_t target) {
  const Job* job = jobs_.Find(id);
  if (job == nullptr) return true;
  const Status saved = options_.store.SaveTarget(*job, target, tasks_saved_[id]);
  if (saved.ok()) {
    const bool more = job->tasks.size() > std::exchange(tasks_saved_[id], job->tasks.size());
    if (more && IsStanding(*job)) standing_.Keep(id, job->tasks);
    if (const auto unsaved = unsaved_.find(id); unsaved != unsaved_.end()) {
      unsaved->second.erase(target);
      if (unsaved->second.empty()) unsaved_.erase(unsaved);
    }
    return true;
  }
  LOG_ERROR("a job's record is not written, tried again", {{"job", id}, {"error", saved}});
  unsaved_[id].emplace(target, 0);
  return false;
}

void OrderHub::SaveAgain() {
  while (!unsaved_.empty()) {
    const JobId id = unsaved_.begin()->first;
    const auto [target, attempt] = *unsaved_.begin()->second.begin();
    if (!SaveTarget(id, target)) return;  // the next one would not fit either
    const Job* job = jobs_.Find(id);
    OrderLink* link = job == nullptr ? nullptr : LinkOf(job->targets[target].node_id);
    if (attempt == 0 || link == nullptr) continue;
    v1::OrdersToNode settled;
    *settled.mutable_settled() = MakeOrderId(*job, attempt);
    link->Send(settled);
  }
  for (const JobId id : std::exchange(unsaved_heads_, {})) (void)SaveJob(id);
}

bool OrderHub::SaveJob(JobId id) {
  const Job* job = jobs_.Find(id);
  if (job == nullptr) return true;
  const bool ended = job->state != JobState::kPending;
  // An end is written after all that it rests on.
  const Status saved = ended && unsaved_.contains(id)
                           ? Unavailable("a target's record is not written yet")
                           : options_.store.SaveHead(*job);
  if (!saved.ok()) {
    LOG_ERROR("a job's record is not written, tried again", {{"job", id}, {"error", saved}});
    unsaved_heads_.insert(id);
    return false;
  }
  if (!ended) return true;
  const JobCounts counts = CountsOf(*job);
  LOG_INFO("job ended", {{"job", id},
                         {"state", JobStateName(job->state)},
                         {"done", counts.done},
                         {"failed", counts.failed},
                         {"reason", job->reason}});
  ended_[id] = EndedJob::Of(*job);
  jobs_.Remove(id);
  feed_.Changed(id);
  secrets_.erase(id);
  tasks_saved_.erase(id);
  return true;
}

const Job* OrderHub::FindOrdered(const v1::OrderId& order) const {
  const Job* job = jobs_.Find(order.job());
  return job != nullptr && job->task_id == order.job_uid() ? job : nullptr;
}

OrderLink* OrderHub::LinkOf(const std::string& node_id) {
  const auto session = by_node_.find(node_id);
  return session == by_node_.end() ? nullptr : sessions_.at(session->second).link.get();
}

void OrderHub::SendOrder(const JobAction& action) {
  const Job* job = jobs_.Find(action.job);
  if (job == nullptr) return;
  const Target& target = job->targets[action.target];
  OrderLink* link = LinkOf(target.node_id);
  if (link == nullptr || target.state != TargetState::kRunning) return;
  v1::OrdersToNode message;
  *message.mutable_order() =
      MakeOrder(*job, target, secrets_[action.job], options_.clock.WallNow());
  link->Send(message);
}

void OrderHub::SendCancel(const JobAction& action) {
  OrderLink* link = LinkOf(action.node_id);
  if (link == nullptr) return;
  v1::OrdersToNode message;
  v1::OrderId& id = *message.mutable_cancel();
  id.set_job(action.job);
  id.set_attempt(action.attempt);
  id.set_job_uid(action.uid);
  link->Send(message);
}

}  // namespace hearth::manager
