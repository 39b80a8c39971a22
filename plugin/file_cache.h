// FileCache: files by URL, kept in the store like blobs.
//
// A file is known by its task ID, so that signature and expiry parameters make no new file. Its
// bytes arrive in the ingest "file/<task ID>" and are resumed there; a complete file is a blob
// under its sha256, hidden from containerd. Before a file that we have is handed out, the origin is
// asked with the caller's own URL and headers. Any thread; calls block on network and disk.
// Neither signatures, userinfo nor headers reach a log, a record or a message.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"
#include "kv/kv.h"
#include "net/http.h"
#include "net/http_client.h"
#include "store/blob_store.h"
#include "store/ingest_store.h"

namespace hearth::plugin {

struct FileRequest {
  std::string url;           // http:// or https://
  net::HttpHeaders headers;  // sent to the origin as they are
  std::optional<Digest> expected;
};

struct FileResult {
  std::string task_id;
  std::string url;  // without what is secret
  Digest digest;
  uint64_t size_bytes = 0;
  uint64_t received_bytes = 0;  // over the network, by this call
  bool unchecked = false;       // the origin could not be asked whether this is its latest version
};

struct FileProgress {
  uint64_t present_bytes = 0;
  std::optional<uint64_t> total_bytes;
};

inline constexpr std::string_view kFileIngestPrefix = "file/";  // then the task ID
// Whether the ingest is one of ours; containerd, whose garbage collection aborts what it does not
// know, must not see those.
bool IsFileIngest(std::string_view ref);

class FileCache {
 public:
  struct Options {
    store::BlobStore& blobs;
    store::IngestStore& ingests;
    kv::Kv& kv;
    net::HttpClient& client;
    // Whether a file that we have is given out while its origin cannot be reached ([proxy]
    // offline).
    bool allow_offline = true;
    int max_attempts = 5;  // without progress
    // An attempt that brings less counts as one without.
    uint64_t least_progress_bytes = 256 * 1024;
    std::chrono::milliseconds first_backoff{500};
    std::chrono::milliseconds max_backoff{10'000};
    std::chrono::milliseconds stall_timeout{10'000};
    int max_redirects = 10;
  };
  // All of `options` must outlive this.
  explicit FileCache(Options options) : options_(std::move(options)) {}

  // The file, complete and in the store. `progress` runs on the calling thread. kInvalidArgument:
  // URL; kNotFound, kUnauthenticated, kPermissionDenied, kUnavailable: as the origin answered;
  // kDataLoss: not the digest that was expected (nothing is kept); kResourceExhausted: disk full;
  // kCancelled: `stop` (what arrived stays for the next call).
  Result<FileResult> Get(const FileRequest& request,
                         const std::function<void(const FileProgress&)>& progress,
                         std::stop_token stop);

 private:
  const Options options_;
};

}  // namespace hearth::plugin
