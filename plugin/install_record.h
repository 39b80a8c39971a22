// InstallRecord: carries a plan's edits out with backups, and remembers them so that they can be
// taken back exactly.
//
// One thread, one process at a time. All paths are below `prefix` ("" = /). A file that was there
// is kept beside it as PATH.hearth-backup (the very inode, so owner, mode and times come back too).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "plugin/installer.h"

namespace hearth::plugin {

class InstallRecord {
 public:
  static constexpr const char* kFile = "/etc/hearth/install.json";

  // An empty record where nothing is installed. kDataLoss: the file cannot be read.
  static Result<InstallRecord> Load(const std::filesystem::path& prefix);

  bool empty() const { return entries_.empty() && labels_.empty(); }
  // Labels of namespaces before we set ours: namespace → old value, "" = none.
  std::map<std::string, std::string>& labels() { return labels_; }
  const std::map<std::string, std::string>& labels() const { return labels_; }

  // Writes the edits that change something, and then the record. On an error what was written in
  // this call is taken back. Returns what happened, a line each.
  Result<std::vector<std::string>> Apply(const std::vector<FileEdit>& edits);
  // Takes back what the last Apply() wrote.
  Status Undo();
  // Writes the record alone (after a change of labels()).
  Status Save() const;

  // What Restore() would do to each file.
  struct Restoration {
    std::string path;
    enum class How : uint8_t {
      kBringBack,     // the backup takes its place
      kRemove,        // it was not there before
      kRemoveImport,  // changed by somebody since: only our import is taken out
      kLeave,         // changed by somebody since: stays, with its backup
    } how;
    std::string note;
  };
  Result<std::vector<Restoration>> PlanRestore() const;
  // Takes everything back and removes the record. Returns what happened, a line each.
  Result<std::vector<std::string>> Restore();

 private:
  struct Entry {
    std::string written_sha256;  // of what we wrote
    std::string backup;          // path without prefix, "" = there was no file
  };
  struct Applied {
    FileEdit edit;
    std::optional<Entry> entry_before;  // absent = the file was not ours
  };
  explicit InstallRecord(std::filesystem::path prefix) : prefix_(std::move(prefix)) {}

  std::filesystem::path Real(const std::string& path) const { return prefix_.string() + path; }
  Result<std::string> MakeBackup(const std::string& path);
  Status ApplyOne(const FileEdit& edit);
  Status UndoOne(const Applied& applied);
  Status MakeParents(const std::string& path);
  Status RestoreOne(const Restoration& restoration);
  // Removes the record's file and the directories that we made, where they are empty.
  Status Forget();

  std::filesystem::path prefix_;
  std::map<std::string, Entry> entries_;  // by path without prefix
  std::vector<std::string> made_directories_;
  std::vector<Applied> applied_;  // by the last Apply()
  std::map<std::string, std::string> labels_;
};

}  // namespace hearth::plugin
