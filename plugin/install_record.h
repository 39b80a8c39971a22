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

  bool empty() const { return entries_.empty() && labels_.empty() && pending_labels_.empty(); }
  // What was installed last; nullopt where nothing is, or before levels were recorded.
  const std::optional<InstallLevel>& level() const { return level_; }
  void set_level(InstallLevel level) { level_ = level; }
  // Labels of namespaces before we set ours: namespace → old value, "" = none.
  std::map<std::string, std::string>& labels() { return labels_; }
  const std::map<std::string, std::string>& labels() const { return labels_; }
  // Namespaces that are to have ours as soon as the containerd at `containerd_address` has our
  // snapshotter loaded; the node sees to that.
  std::vector<std::string>& pending_labels() { return pending_labels_; }
  const std::vector<std::string>& pending_labels() const { return pending_labels_; }
  std::string& containerd_address() { return containerd_address_; }

  // Writes the edits that change something, and then the record. On an error what was written in
  // this call is taken back. Returns what happened, a line each.
  Result<std::vector<std::string>> Apply(const std::vector<FileEdit>& edits);
  // Takes back what the last Apply() wrote.
  Status Undo();
  // Writes the record alone (after a change of what it holds beside the files).
  Status Save() const;

  // What Restore() would do to each file.
  struct Restoration {
    std::string path;
    enum class How : uint8_t {
      kBringBack,  // the backup takes its place
      kRemove,     // it was not there before
      kTakeOut,    // changed by somebody since: only what is ours is taken out
      kLeave,      // changed by somebody since: stays, with its backup
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
    std::vector<TomlChange> changes;
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
  // `text` without what we wrote into it: values that are still ours, and the import.
  Result<std::string> WithoutOurs(std::string text, const Entry& entry) const;
  // Removes the record's file and the directories that we made, where they are empty.
  Status Forget();

  std::filesystem::path prefix_;
  std::map<std::string, Entry> entries_;  // by path without prefix
  std::vector<std::string> made_directories_;
  std::vector<Applied> applied_;  // by the last Apply()
  std::map<std::string, std::string> labels_;
  std::vector<std::string> pending_labels_;
  std::string containerd_address_;
  std::optional<InstallLevel> level_;
};

}  // namespace hearth::plugin
