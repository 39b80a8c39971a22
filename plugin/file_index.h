// FileIndex: the files that are known by URL, found again under another signature.
//
// A file is found where tag and application are the same and the URLs are, once either the
// request's filter or the one that the file was stored under was applied to both. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "kv/kv.h"
#include "plugin/file_name.h"
#include "plugin/file_version.h"

namespace hearth::plugin {

class FileIndex {
 public:
  // Looked at for one request; of more files at one address, differing in parameters, the rest are
  // found under their exact task ID only.
  static constexpr size_t kMaxSameAddress = 256;

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

  // Whether `name` means this file.
  static bool Means(const FileName& name, const FileTask& task);

 private:
  std::optional<FileTask> Load(std::string_view task_id) const;

  kv::Kv& kv_;
};

}  // namespace hearth::plugin
