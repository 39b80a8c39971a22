#include "manager/order_messages.h"

#include <algorithm>

#include "hearth/v1/orders.pb.h"
#include "manager/job_url.h"
#include "manager/wire.h"

namespace hearth::manager {

namespace {

constexpr int kMaxItems = 256;
constexpr int kMaxCopies = 14'000;
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxDepthBytes = 16;

// gRPC's numbers; an unknown one is an error all the same.
StatusCode CodeOf(uint32_t number) {
  return number <= static_cast<uint32_t>(StatusCode::kUnauthenticated)
             ? static_cast<StatusCode>(number)
             : StatusCode::kUnknown;
}

Result<JobTask> ReadCopy(const JobSpec& spec, const JobItem& item, const v1::Copy& copy) {
  JobTask task;
  task.digest = TRY(ReadDigest(copy.digest()));
  task.size_bytes = copy.size_bytes();
  if (item.base_url.empty()) {
    task.url = item.url;
    task.task_id = item.task_id;
    return task;
  }
  const bool manifest = copy.kind() == v1::Copy::MANIFEST;
  task.url = item.base_url + (manifest ? "/manifests/" : "/blobs/") + task.digest->ToString();
  task.task_id = TRY(TaskIdOf(spec, task.url));
  return task;
}

Result<ItemOutcome> ReadItem(const JobSpec& spec, const JobItem& item,
                             const v1::ItemOutcome& said) {
  if (said.copies_size() > kMaxCopies || said.depth().size() > kMaxDepthBytes) {
    return InvalidArgument("an outcome beyond its limits");
  }
  ItemOutcome outcome;
  const StatusCode code = CodeOf(said.code());
  outcome.status = code == StatusCode::kOk
                       ? OkStatus()
                       : Status(code, said.message().substr(0, kMaxMessageBytes));
  for (const v1::Copy& copy : said.copies()) {
    outcome.copies.push_back(TRY(ReadCopy(spec, item, copy)));
  }
  outcome.bytes = {.done = said.code() == 0 ? said.bytes_total() : 0,
                   .total = said.bytes_total(),
                   .fetched = said.bytes_fetched(),
                   .peer = said.peer_bytes(),
                   .origin = said.origin_bytes(),
                   .missing = said.bytes_missing(),
                   .layers_missing = said.layers_missing()};
  outcome.depth = said.depth();
  return outcome;
}

}  // namespace

v1::OrderId MakeOrderId(const Job& job, uint32_t attempt) {
  v1::OrderId id;
  id.set_job(job.id);
  id.set_attempt(attempt);
  id.set_job_uid(job.task_id);
  return id;
}

v1::Order MakeOrder(const Job& job, const Target& target, const JobSecrets& secrets, WallTime now) {
  const JobSpec& spec = job.spec;
  v1::Order order;
  *order.mutable_id() = MakeOrderId(job, target.attempt);
  for (size_t i = 0; i < spec.items.size(); ++i) {
    v1::OrderItem& item = *order.add_items();
    if (spec.kind == JobKind::kImage) {
      spec.dry_run ? item.set_look_at(spec.items[i].reference)
                   : item.set_image(spec.items[i].reference);
    } else if (i < secrets.urls.size()) {
      item.set_file(secrets.urls[i]);
    }
    if (i < secrets.logins.size()) {
      item.set_username(secrets.logins[i].username);
      item.set_password(secrets.logins[i].password);
      item.set_identity_token(secrets.logins[i].identity_token);
    }
    if (spec.items[i].plain_http) item.set_plain_http(*spec.items[i].plain_http);
  }
  order.set_depth(spec.depth);
  for (const std::string& platform : spec.platforms) order.add_platforms(platform);
  using std::chrono::milliseconds;
  const auto left = job.deadline == WallTime{}
                        ? spec.node_timeout
                        : std::chrono::duration_cast<milliseconds>(job.deadline - now);
  order.set_expires_in_milliseconds(static_cast<uint64_t>(std::max(left, milliseconds(1)).count()));
  order.set_pin_seconds(static_cast<uint64_t>(spec.pin.count()));
  order.set_parallel_items(spec.parallel_items);
  order.set_priority(spec.priority);
  order.set_check_cpu(spec.check_cpu);
  order.set_check_memory(spec.check_memory);
  order.set_tag(spec.tag);
  order.set_application(spec.application);
  order.set_piece_length(spec.piece_length);
  if (!spec.filter.empty()) order.set_filter(spec.filter);
  order.set_username(secrets.username);
  order.set_password(secrets.password);
  for (const auto& [name, value] : secrets.headers) {
    v1::OrderHeader& header = *order.add_headers();
    header.set_name(name);
    header.set_value(value);
  }
  return order;
}

Result<std::vector<ItemOutcome>> ReadReport(const JobSpec& spec, const v1::OrderReport& report) {
  if (report.items_size() > kMaxItems ||
      static_cast<size_t>(report.items_size()) != spec.items.size()) {
    return InvalidArgument("a report on another number of items than the order has");
  }
  std::vector<ItemOutcome> outcomes;
  for (int i = 0; i < report.items_size(); ++i) {
    outcomes.push_back(TRY(ReadItem(spec, spec.items[static_cast<size_t>(i)], report.items(i))));
  }
  return outcomes;
}

}  // namespace hearth::manager
