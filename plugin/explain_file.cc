#include "plugin/explain_file.h"

#include <algorithm>
#include <utility>

#include "base/units.h"

namespace hearth::plugin {
namespace {

constexpr size_t kMaxShown = 16;

FileSide SideOf(store::Store& store, const FileIndex::Entry& entry) {
  FileSide side;
  side.task_id = entry.task_id;
  side.url = entry.task.url;
  side.tag = entry.task.tag;
  side.application = entry.task.application;
  side.filter = entry.task.filter;
  side.digest = entry.task.digest;
  side.size_bytes = entry.task.complete.size_bytes.value_or(0);
  if (entry.task.digest && store.blobs().Info(*entry.task.digest).ok()) {
    side.complete = true;
    side.present_bytes = side.size_bytes;
    return side;
  }
  const auto part = store.ingests().Info(std::string(kFileIngestPrefix) + entry.task_id);
  if (part.ok()) {
    side.present_bytes = part->offset_bytes;
    side.size_bytes = part->total_bytes;
  }
  return side;
}

std::vector<std::string> Differences(const FileName& name, const FileTask& task) {
  std::vector<std::string> out;
  const auto asked = name.Key(name.filter);
  if (asked.ok()) {
    for (const std::string& parameter : DifferingParameters(*asked, task.key, task.filter)) {
      const bool filtered =
          std::find(name.filter.begin(), name.filter.end(), parameter) != name.filter.end();
      if (!filtered) out.push_back("parameter " + parameter);
    }
  }
  if (name.tag != task.tag) out.emplace_back("tag");
  if (name.application != task.application) out.emplace_back("application");
  return out;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

void AddReasons(FileExplanation& out) {
  for (const FileSide& side : out.stored) {
    if (!side.differs_in.empty()) {
      out.reasons.push_back("stored as another file, which differs in " + Joined(side.differs_in) +
                            " (task " + side.task_id.substr(0, 12) + ")");
    } else if (!side.complete && side.present_bytes > 0) {
      out.reasons.push_back("only " + FormatByteSize(side.present_bytes) + " are here");
    } else if (!side.complete) {
      out.reasons.emplace_back("it was here, but its bytes are gone");
    }
  }
  if (out.reasons.empty()) out.reasons.emplace_back("no file of this address is in the store");
}

}  // namespace

Result<FileExplanation> ExplainFile(FileCache& files, store::Store& store, const std::string& url) {
  FileExplanation out;
  if (const ProxyRule* rule = files.rules().Find(url)) out.rule = rule->match;
  const FileName name = files.rules().Name(url, {});
  const FileIndex::Entry found = TRY(files.index().Find(name));
  out.asked = SideOf(store, found);
  out.asked.task_id = TRY(name.TaskId());
  out.asked.url = TRY(name.ShownUrl());
  out.asked.filter = name.filter;
  if (const auto blob = DigestOfBlobUrl(name.url); blob && !out.asked.complete) {
    if (const auto info = store.blobs().Info(*blob); info.ok()) {
      out.asked.task_id = blob->hex();
      out.asked.digest = *blob;
      out.asked.size_bytes = out.asked.present_bytes = info->size_bytes;
      out.asked.complete = true;
    }
  }
  out.warm = out.asked.complete;
  for (const FileIndex::Entry& entry : TRY(files.index().AtAddress(name))) {
    const bool same = FileIndex::Means(name, entry.task);
    if (out.warm && !(same && entry.task_id == found.task_id)) continue;
    FileSide side = SideOf(store, entry);
    if (!same) side.differs_in = Differences(name, entry.task);
    if (out.stored.size() < kMaxShown) out.stored.push_back(std::move(side));
  }
  if (!out.warm) AddReasons(out);
  return out;
}

}  // namespace hearth::plugin
