// FileIndex: the files that are known by URL, found again under another signature.
//
// A file is found where tag and application are the same and the URLs are, once either the
// request's filter or the one that the file was stored under was applied to both. Any thread.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "plugin/file_name.h"
#include "plugin/file_version.h"

namespace hearth::plugin {

class FileIndex {
 public:
  // Looked at for one request; of more files at one address, differing in parameters, the rest are
  // found under their exact task ID only.
  static constexpr size_t kMaxSameAddress = 256;
  static constexpr size_t kMaxFiles = 1 << 18;

  struct Entry {
    std::string task_id;
    FileTask task;
  };
  explicit FileIndex(kv::Kv& kv) : kv_(kv) {}

  // The file that `name` means, else a new entry under its own task ID. kInvalidArgument: URL.
  Result<Entry> Find(const FileName& name) const;
  // Files of the same scheme, host and path.
  Result<std::vector<Entry>> AtAddress(const FileName& name) const;
  Status Save(const Entry& entry, const FileName& name, kv::Sync sync);
  // Drops the files for which `keep` says so no more, and what is beyond kMaxFiles. Looks at a
  // 256th of them; for now and then. `keep` must not call back.
  Status Sweep(const std::function<bool(const Entry& entry)>& keep);

  // Whether `name` means this file.
  static bool Means(const FileName& name, const FileTask& task);

 private:
  std::optional<FileTask> Load(std::string_view task_id) const;

  kv::Kv& kv_;
  Mutex mutex_;
  std::multiset<std::string> saving_ GUARDED_BY(mutex_);  // task IDs; a sweep passes them by
  uint8_t next_sweep_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hearth::plugin
