// ExplainFile: would this URL come from the store, and if not, what makes it another file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "plugin/file_cache.h"
#include "store/store.h"

namespace hearth::plugin {

// One name of a file: as it is asked for, or as it is stored. Nothing secret is in it.
struct FileSide {
  std::string task_id;
  std::string url;
  std::string tag;
  std::string application;
  std::vector<std::string> filter;
  std::optional<Digest> digest;
  uint64_t size_bytes = 0;
  uint64_t present_bytes = 0;
  bool complete = false;
  // Against what is asked: "parameter ns", "tag", "application".
  std::vector<std::string> differs_in;
};

struct FileExplanation {
  bool warm = false;                 // comes from the store once its origin grants it
  std::optional<std::string> rule;   // that matches
  std::vector<std::string> reasons;  // why not warm
  FileSide asked;
  std::vector<FileSide> stored;  // the file itself, else those of the same address
};

// Asks nobody and changes nothing. kInvalidArgument: no http or https URL. Any thread.
Result<FileExplanation> ExplainFile(FileCache& files, store::Store& store, const std::string& url);

}  // namespace hearth::plugin
