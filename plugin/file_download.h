// FileDownload: one call of FileCache::Get(), from the request's first byte to the blob.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "plugin/file_cache.h"
#include "plugin/file_version.h"
#include "plugin/http_stream.h"

namespace hearth::plugin {

class FileDownload {
 public:
  // All must outlive this.
  FileDownload(const FileCache::Options& options, const FileRequest& request,
               const std::function<void(const FileProgress&)>& progress, std::stop_token stop);

  Result<FileResult> Run();

 private:
  enum class Outcome { kDone, kAgain };

  Status Name();
  bool HaveExpected();
  void LoadTask();
  Status SaveTask(kv::Sync sync);
  Status Hold();
  Result<std::unique_ptr<HttpStream>> Ask();
  // One request to the origin and what follows from its answer. kAgain: at once, from zero.
  Result<Outcome> Attempt();
  Result<Outcome> TakeBody(HttpStream& stream, const FileVersion& version);
  Status Restart(const FileVersion& version);
  Status Receive(HttpStream& stream);
  Result<Outcome> Commit(bool resumed);
  Status Pause(int failures);
  Status OriginStatus(int http_status) const;

  const FileCache::Options& options_;
  const FileRequest& request_;
  const std::function<void(const FileProgress&)>& progress_;
  const std::stop_token stop_;

  FileResult result_;
  FileTask task_;
  bool have_ = false;  // a complete version is in the store: only ask whether it is the latest
  bool disk_failed_ = false;  // our own trouble: asking again is no help
  std::unique_ptr<store::Ingest> ingest_;
  uint64_t offset_bytes_ = 0;  // of the ingest
  std::optional<uint64_t> total_bytes_;
};

}  // namespace hearth::plugin
