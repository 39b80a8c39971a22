#include "plugin/install_record.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/digest.h"
#include "base/file.h"
#include "plugin/toml_edit.h"

namespace hearth::plugin {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr int kMaxBackups = 100;
constexpr mode_t kFileMode = 0644;

std::string BackupNote(const std::string& backup) {
  return backup.empty() ? "" : "; what was there before is in " + backup;
}

std::string Sum(std::string_view text) { return Digest::Of(text).hex(); }

json ToJson(const std::vector<TomlChange>& changes) {
  json list = json::array();
  for (const TomlChange& change : changes) {
    json one = {{"path", change.path}, {"value", change.value}};
    if (change.before) one["before"] = *change.before;
    list.push_back(std::move(one));
  }
  return list;
}

std::vector<TomlChange> ChangesFrom(const json& list) {
  std::vector<TomlChange> changes;
  for (const json& one : list) {
    TomlChange change{one.at("path").get<TomlPath>(), one.at("value").get<std::string>(),
                      std::nullopt};
    if (one.contains("before")) change.before = one.at("before").get<std::string>();
    changes.push_back(std::move(change));
  }
  return changes;
}

}  // namespace

Result<InstallRecord> InstallRecord::Load(const std::filesystem::path& prefix) {
  InstallRecord record(prefix);
  const auto text = ReadFile(record.Real(kFile), kMaxFileBytes);
  if (text.status().code() == StatusCode::kNotFound) return record;
  if (!text.ok()) return text.status();
  try {
    const json document = json::parse(*text);
    for (const auto& [path, entry] : document.at("files").items()) {
      record.entries_[path] = {entry.at("written_sha256").get<std::string>(),
                               entry.at("backup").get<std::string>(),
                               ChangesFrom(entry.value("changes", json::array()))};
    }
    record.made_directories_ = document.at("made_directories").get<std::vector<std::string>>();
    record.labels_ = document.at("labels").get<std::map<std::string, std::string>>();
    // Absent from records that the first releases wrote.
    record.pending_labels_ = document.value("pending_labels", std::vector<std::string>());
    record.containerd_address_ = document.value("containerd_address", "");
    if (document.contains("level")) {
      const auto level = ParseInstallLevel(document.at("level").get<std::string>());
      if (!level.ok())
        return DataLoss(record.Real(kFile).string() + ": " + level.status().message());
      record.level_ = *level;
    }
  } catch (const json::exception& error) {
    return DataLoss(record.Real(kFile).string() + " cannot be read: " + error.what() +
                    " (restore the *.hearth-backup files by hand, then remove it)");
  }
  return record;
}

Status InstallRecord::Save() const {
  json files = json::object();
  for (const auto& [path, entry] : entries_) {
    files[path] = {{"written_sha256", entry.written_sha256},
                   {"backup", entry.backup},
                   {"changes", ToJson(entry.changes)}};
  }
  json document = {{"files", files},
                   {"made_directories", made_directories_},
                   {"labels", labels_},
                   {"pending_labels", pending_labels_},
                   {"containerd_address", containerd_address_}};
  if (level_) document["level"] = InstallLevelName(*level_);
  return WriteFileAtomically(Real(kFile), document.dump(2) + "\n", kFileMode);
}

Status InstallRecord::MakeParents(const std::string& path) {
  std::vector<std::string> missing;
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  while (directory.has_relative_path() && !std::filesystem::exists(Real(directory.string()))) {
    missing.push_back(directory.string());
    directory = directory.parent_path();
  }
  TRY_STATUS(MakeDirectories(Real(path).parent_path()));
  for (auto it = missing.rbegin(); it != missing.rend(); ++it) {
    if (std::find(made_directories_.begin(), made_directories_.end(), *it) ==
        made_directories_.end()) {
      made_directories_.push_back(*it);
    }
  }
  return OkStatus();
}

Result<std::string> InstallRecord::MakeBackup(const std::string& path) {
  for (int i = 0; i < kMaxBackups; ++i) {
    const std::string backup = path + ".hearth-backup" + (i == 0 ? "" : "." + std::to_string(i));
    if (link(Real(path).c_str(), Real(backup).c_str()) == 0) return backup;
    if (errno != EEXIST) return ErrnoStatus(errno, "back up " + Real(path).string());
  }
  return ResourceExhausted(Real(path).string() + " has " + std::to_string(kMaxBackups) +
                           " backups (remove the old *.hearth-backup files)");
}

Status InstallRecord::ApplyOne(const FileEdit& edit) {
  const auto found = entries_.find(edit.path);
  const bool ours =
      found != entries_.end() && edit.before && Sum(*edit.before) == found->second.written_sha256;
  Entry entry;
  if (ours) {
    entry.backup = found->second.backup;
    entry.changes = found->second.changes;
  } else if (edit.before) {
    entry.backup = TRY(MakeBackup(edit.path));
  }
  // What was there before the first of ours is what comes back.
  for (const TomlChange& change : edit.changes) {
    const auto known = std::find_if(entry.changes.begin(), entry.changes.end(),
                                    [&](const auto& one) { return one.path == change.path; });
    if (known == entry.changes.end()) {
      entry.changes.push_back(change);
    } else {
      known->value = change.value;
    }
  }
  entry.written_sha256 = Sum(edit.after);
  TRY_STATUS(MakeParents(edit.path));
  applied_.push_back({edit, ours ? std::optional(found->second) : std::nullopt});
  entries_[edit.path] = entry;
  // First: a file that is not on record would never be taken back.
  TRY_STATUS(Save());
  return WriteFileAtomically(Real(edit.path), edit.after, kFileMode);
}

Result<std::vector<std::string>> InstallRecord::Apply(const std::vector<FileEdit>& edits) {
  std::vector<std::string> done;
  applied_.clear();
  TRY_STATUS(MakeParents(kFile));
  for (const FileEdit& edit : edits) {
    if (!edit.Changes()) continue;
    const Status status = ApplyOne(edit);
    if (!status.ok()) {
      const Status undone = Undo();
      return undone.ok() ? status
                         : status.Annotate("(taking it back failed too: " + undone.message() + ")");
    }
    const std::string& backup = entries_[edit.path].backup;
    done.push_back("wrote " + edit.path + ": " + edit.why +
                   (backup.empty() ? "" : " (backup: " + backup + ")"));
  }
  return done;
}

Status InstallRecord::UndoOne(const Applied& applied) {
  const std::filesystem::path real = Real(applied.edit.path);
  const std::string backup = entries_[applied.edit.path].backup;
  if (applied.entry_before) {
    TRY_STATUS(WriteFileAtomically(real, *applied.edit.before, kFileMode));
    entries_[applied.edit.path] = *applied.entry_before;
    return OkStatus();
  }
  if (backup.empty()) {
    if (unlink(real.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
      return ErrnoStatus(errno, "remove " + real.string());
    }
  } else if (rename(Real(backup).c_str(), real.c_str()) != 0) {
    return ErrnoStatus(errno, "bring back " + Real(backup).string());
  } else {
    (void)unlink(Real(backup).c_str());  // where ours was never written, both were one file
  }
  entries_.erase(applied.edit.path);
  return OkStatus();
}

Status InstallRecord::Undo() {
  while (!applied_.empty()) {
    TRY_STATUS(UndoOne(applied_.back()));
    applied_.pop_back();
  }
  return empty() ? Forget() : Save();
}

Result<std::vector<InstallRecord::Restoration>> InstallRecord::PlanRestore() const {
  std::vector<Restoration> plan;
  for (const auto& [path, entry] : entries_) {
    const auto text = ReadFile(Real(path), kMaxFileBytes);
    if (!text.ok() && text.status().code() != StatusCode::kNotFound) return text.status();
    const bool ours = text.ok() && Sum(*text) == entry.written_sha256;
    if (!text.ok()) {
      plan.push_back(
          {path, entry.backup.empty() ? Restoration::How::kRemove : Restoration::How::kBringBack,
           "it was removed since"});
    } else if (ours) {
      plan.push_back(
          {path, entry.backup.empty() ? Restoration::How::kRemove : Restoration::How::kBringBack,
           ""});
    } else if (path == kContainerdConfigFile || !entry.changes.empty()) {
      plan.push_back(
          {path, Restoration::How::kTakeOut, "it was changed since" + BackupNote(entry.backup)});
    } else {
      plan.push_back(
          {path, Restoration::How::kLeave, "it was changed since" + BackupNote(entry.backup)});
    }
  }
  return plan;
}

Result<std::string> InstallRecord::WithoutOurs(std::string text, const Entry& entry) const {
  for (const TomlChange& change : entry.changes) {
    if (TRY(TomlValueText(text, change.path)) != change.value) continue;
    text = change.before ? TRY(SetTomlValue(text, change.path, *change.before))
                         : TRY(RemoveTomlValue(text, change.path));
  }
  return RemoveFromTomlList(text, "imports", kDropInFile);
}

Status InstallRecord::RestoreOne(const Restoration& restoration) {
  const std::filesystem::path real = Real(restoration.path);
  const std::string backup = entries_[restoration.path].backup;
  switch (restoration.how) {
    case Restoration::How::kBringBack:
      if (rename(Real(backup).c_str(), real.c_str()) != 0) {
        return ErrnoStatus(errno, "bring back " + Real(backup).string());
      }
      return OkStatus();
    case Restoration::How::kRemove:
      if (unlink(real.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
        return ErrnoStatus(errno, "remove " + real.string());
      }
      return OkStatus();
    case Restoration::How::kTakeOut: {
      const std::string text = TRY(ReadFile(real, kMaxFileBytes));
      const std::string without =
          TRY(WithoutOurs(text, entries_[restoration.path]).Annotate(restoration.path));
      return WriteFileAtomically(real, without, kFileMode);
    }
    case Restoration::How::kLeave:
      return OkStatus();
  }
  return OkStatus();
}

Result<std::vector<std::string>> InstallRecord::Restore() {
  std::vector<std::string> done;
  for (const Restoration& restoration : TRY(PlanRestore())) {
    TRY_STATUS(RestoreOne(restoration));
    static constexpr const char* kWords[] = {"brought back ", "removed ",
                                             "took our settings out of ", "left "};
    done.push_back(kWords[static_cast<size_t>(restoration.how)] + restoration.path +
                   (restoration.note.empty() ? "" : ": " + restoration.note));
  }
  entries_.clear();
  labels_.clear();
  pending_labels_.clear();
  TRY_STATUS(Forget());
  return done;
}

Status InstallRecord::Forget() {
  if (unlink(Real(kFile).c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove " + Real(kFile).string());
  }
  for (auto it = made_directories_.rbegin(); it != made_directories_.rend(); ++it) {
    // Somebody else's files in it keep it.
    (void)rmdir(Real(*it).c_str());
  }
  made_directories_.clear();
  return OkStatus();
}

}  // namespace hearth::plugin
