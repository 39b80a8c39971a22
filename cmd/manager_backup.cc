// hearth manager backup and restore: what the manager on this machine keeps, as one file.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/units.h"
#include "cmd/api_client.h"
#include "cmd/interrupt.h"
#include "cmd/manager_commands.h"
#include "config/manager_config.h"
#include "manager/backup.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr size_t kCopyBytes = 1 << 20;

// To another file system. Whole and on disk when it is there.
Status Copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  const Fd source = TRY(OpenFile(from, O_RDONLY));
  const std::filesystem::path part = to.native() + ".part";
  (void)::unlink(part.c_str());  // what an interrupted copy left
  const Fd target = TRY(OpenFile(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  std::vector<char> buffer(kCopyBytes);
  for (uint64_t offset = 0;;) {
    const size_t read = TRY(ReadAt(source.get(), buffer, offset));
    if (read == 0) break;
    TRY_STATUS(WriteAllAt(target.get(), std::span(buffer).first(read), offset));
    offset += read;
  }
  TRY_STATUS(SyncData(target.get()));
  if (::rename(part.c_str(), to.c_str()) != 0)
    return ErrnoStatus(errno, "rename to " + to.native());
  return OkStatus();
}

Status Move(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return OkStatus();
  if (errno != EXDEV) return ErrnoStatus(errno, "rename " + from.native() + " to " + to.native());
  TRY_STATUS(Copy(from, to));
  (void)::unlink(from.c_str());
  return OkStatus();
}

void Say(const Common& common, const std::string& file, const manager::BackupSummary& summary) {
  if (common.json) {
    std::cout << json({{"file", file},
                       {"records", summary.records},
                       {"size_bytes", summary.size_bytes},
                       {"sha256", summary.sum.hex()}})
                     .dump(2)
              << "\n";
  } else if (!common.quiet) {
    std::cout << file << ": " << summary.records << " records, "
              << FormatByteSize(summary.size_bytes) << "\n";
  }
}

}  // namespace

int RunManagerBackup(const Common& common, const ManagerArgs& manager, const std::string& file) {
  const std::string what = "manager backup";
  const Interrupt interrupt;
  const auto client = ApiClient::FromEnvironment(manager);
  if (!client.ok()) return Fail(what, client.status());
  const auto answer = (*client)->Call("POST", "/api/v1/backup", "", interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!answer.ok()) return Fail(what, answer.status());
  const json made = json::parse(*answer, nullptr, false);
  if (!made.is_object() || !made.contains("file") || !made["file"].is_string()) {
    return Fail(what, DataLoss("the manager's answer names no file"));
  }
  // It may be another machine's answer, or another backup that lies there.
  const std::filesystem::path source = made["file"].get<std::string>();
  const auto there = manager::CheckBackup(source);
  if (!there.ok()) {
    return Fail(what, there.status().Annotate("the manager has to be on this machine"));
  }
  if (!made.contains("sha256") || made["sha256"] != there->sum.hex()) {
    return Fail(what, FailedPrecondition(source.native() +
                                         " is not the backup that the manager made (it has to be "
                                         "on this machine)"));
  }
  const Status moved = Move(source, file);
  if (!moved.ok()) return Fail(what, moved);
  const auto summary = manager::CheckBackup(file);
  if (!summary.ok()) return Fail(what, summary.status());
  Say(common, file, *summary);
  return kDone;
}

int RunManagerRestore(const Common& common, const std::string& file) {
  const std::string what = "manager restore";
  const auto config = config::LoadManagerConfig(common.config_file, common.sets);
  if (!config.ok()) return Fail("config", config.status());
  const auto summary = manager::RestoreBackup(file, config->root);
  if (!summary.ok()) return Fail(what, summary.status());
  Say(common, file, *summary);
  return kDone;
}

}  // namespace hearth::cmd
