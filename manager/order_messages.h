// What travels between OrderHub and a node, made and read. Pure.
#pragma once

#include <vector>

#include "base/status.h"
#include "manager/job.h"
#include "manager/jobs.h"

namespace hearth::v1 {
class Order;
class OrderId;
class OrderReport;
}  // namespace hearth::v1

namespace hearth::manager {

v1::OrderId MakeOrderId(const Job& job, uint32_t attempt);

// The order of the job for one of its targets.
v1::Order MakeOrder(const Job& job, const Target& target, const JobSecrets& secrets, WallTime now);

// What the node says of each item. kInvalidArgument: beyond a limit, or malformed.
Result<std::vector<ItemOutcome>> ReadReport(const JobSpec& spec, const v1::OrderReport& report);

}  // namespace hearth::manager
