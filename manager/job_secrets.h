// What a job must not show, sealed for its record; and the names of jobs.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "manager/job.h"
#include "manager/sealer.h"

namespace hearth::manager {

// "" where there is nothing to seal.
std::string SealSecrets(const Sealer& sealer, JobId id, const JobSecrets& secrets);
// Sealed with the sealer's first key; none: it is, or there is nothing. Errors as Unseal().
Result<std::optional<std::string>> RenewSecrets(const Sealer& sealer, const Job& head);
// Errors as Sealer::Unseal().
Result<JobSecrets> OpenSecrets(const Sealer& sealer, const Job& job);

// "group_2717f455-ff0a-435f-a3a7-672828d15a2a"
std::string NewGroupId();

}  // namespace hearth::manager
