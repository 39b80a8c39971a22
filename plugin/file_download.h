// FileDownload: one call of FileCache::Get(), from the request's first byte to the blob.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "plugin/file_cache.h"
#include "plugin/file_version.h"
#include "plugin/http_stream.h"

namespace hearth::plugin {

class FileDownload {
 public:
  // All must outlive this. `request.url` may be the client's or, from Offer(), the origin's.
  FileDownload(FileCache& cache, const FileRequest& request,
               const std::function<void(const FileProgress&)>& progress, std::stop_token stop);

  // For somebody who waits for the whole file; readers of the same file join it.
  Result<FileResult> Run();
  // For readers only, who wait already: an origin that does not answer is theirs to bear at once.
  // Ends `growing`.
  Result<FileResult> Feed(std::shared_ptr<GrowingFile> growing);

 private:
  enum class Outcome { kDone, kAgain };

  Status Name();
  bool HaveExpected();
  Status LoadTask();
  Result<FileResult> Work();
  Status SaveTask(kv::Sync sync);
  Status Hold();
  Result<std::unique_ptr<HttpStream>> Ask();
  // One request to the origin and what follows from its answer. kAgain: at once, from zero.
  Result<Outcome> Attempt();
  // Of a file that we have.
  Result<Outcome> Check();
  bool HaveAll(const net::HttpResponseHead& refusal) const;
  Result<Outcome> CommitAll();
  Result<Outcome> TakeBody(HttpStream& stream, const FileVersion& version);
  Status Restart(const FileVersion& version);
  Status ShowReaders();
  Status Receive(HttpStream& stream);
  // Charges what came, and waits until more may come.
  Status Pay(uint64_t bytes);
  // For the bytes from `from_bytes` on; kResourceExhausted.
  Status MakeRoom(uint64_t from_bytes, std::optional<uint64_t> total_bytes);
  Result<Outcome> Commit(bool resumed);
  Status Pause(int failures);
  Status WaitUntil(SteadyTime until);
  Status OriginStatus(int http_status) const;
  std::optional<Digest> Judge() const;

  FileCache& cache_;
  const FileCache::Options& options_;
  const FileRequest& request_;
  const std::function<void(const FileProgress&)> progress_;
  std::stop_token stop_;
  std::shared_ptr<GrowingFile> growing_;  // for readers; null where another download feeds them
  bool patient_ = true;                   // false: no second attempt before the body began

  FileName name_;
  FileResult result_;
  FileIndex::Entry entry_;
  bool have_ = false;  // a complete version is in the store: only ask whether it is the latest
  bool disk_failed_ = false;  // our own trouble: asking again is no help
  std::unique_ptr<store::Ingest> ingest_;
  uint64_t offset_bytes_ = 0;  // of the ingest
  std::optional<uint64_t> total_bytes_;
  bool began_ = false;           // the body, in this call
  uint64_t room_end_bytes_ = 0;  // up to where there was room
  // How long no byte may come: one stall uses it up, whatever attempts are left; a body that fell
  // silent costs half, so that another connection can go on where it ended.
  std::chrono::milliseconds patience_;
  bool fell_silent_ = false;  // the last attempt, within its body
};

}  // namespace hearth::plugin
