// Backup: what a manager keeps, in one file: its store's records and the cluster's authority.
//
// Not in it: the key that seals what jobs must not show. docs/formats.md has the bytes. Blocks on
// the disk; any thread.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/digest.h"
#include "base/status.h"
#include "kv/kv.h"

namespace hearth::manager {

struct BackupSummary {
  uint64_t records = 0;
  uint64_t size_bytes = 0;
  Digest sum;  // of all before it
};

// Of a manager that may be running: each family of records as it was at one moment, and nothing
// that another one needs is missing. `file` (0600) is whole and synced when it is there.
Result<BackupSummary> WriteBackup(const kv::Kv& kv, const std::filesystem::path& root,
                                  const std::filesystem::path& file);
// Reads all of it. kDataLoss: it is not whole, or not ours.
Result<BackupSummary> CheckBackup(const std::filesystem::path& file);
// Into `root`, where no manager may have been. Numbers of jobs and clusters that were given since
// the backup are not given again. kFailedPrecondition: there is a store or an authority already.
Result<BackupSummary> RestoreBackup(const std::filesystem::path& file,
                                    const std::filesystem::path& root);

}  // namespace hearth::manager
