// FileCache: files by URL, kept in the store like blobs.
//
// A file is known by its URL without what signs it, tag and application, and shown under its task
// ID. Its bytes arrive in the ingest "file/<task ID>", one download at a time, and are resumed
// there; a complete file is a blob under its sha256, hidden from containerd. Before a file that we
// have is handed out, the origin is asked with the caller's own URL and headers. Any thread; calls
// block on network and disk.
// Neither signatures, userinfo nor headers reach a log, a record or a message.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "net/http.h"
#include "net/http_client.h"
#include "p2p/limiter.h"
#include "plugin/file_index.h"
#include "plugin/file_version.h"
#include "plugin/growing_file.h"
#include "plugin/proxy_rules.h"
#include "store/blob_store.h"
#include "store/ingest_store.h"

namespace hearth::plugin {

struct FileRequest {
  std::string url;           // http:// or https://
  net::HttpHeaders headers;  // sent to the origin as they are
  std::optional<Digest> expected;
  FileLabels labels = {};
  // For Offer(): the whole file is wanted in the store, even if this reader takes or wants less.
  bool prefetch = false;
  // Asked before so many more bytes are stored: all that are missing where the origin says the
  // size, else kRoomStepBytes at a time. What it refuses ends the download. Null: none is refused.
  std::function<Status(uint64_t size_bytes)> make_room = nullptr;
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

// What a reader of the proxy gets.
struct FileOffer {
  enum class Kind : uint8_t {
    kStored,   // `blob`
    kGrowing,  // `growing`, which has begun
    kRefused,  // `refusal`, the origin's own answer to this caller
    kPass,     // nothing here: ask the origin without us
  };
  Kind kind = Kind::kPass;
  std::string task_id;
  FileVersion version;  // of kStored
  std::shared_ptr<store::Blob> blob;
  std::shared_ptr<GrowingFile> growing;
  std::shared_ptr<void> wanted;  // keeps `growing` going
  std::optional<net::HttpResponse> refusal;
  bool unchecked = false;  // as in FileResult
};

inline constexpr uint64_t kRoomStepBytes = 8ull << 20;
inline constexpr std::chrono::hours kKeepPartialFile{24};
inline constexpr std::string_view kFileIngestPrefix = "file/";  // then the task ID
// Whether the ingest is one of ours; containerd, whose garbage collection aborts what it does not
// know, must not see those.
bool IsFileIngest(std::string_view ref);

// "http://host/v2/NAME/blobs/sha256:…?ns=…": a registry's blob, which is known by its digest.
std::optional<Digest> DigestOfBlobUrl(const std::string& url);

class FileCache {
 public:
  struct Options {
    store::BlobStore& blobs;
    store::IngestStore& ingests;
    kv::Kv& kv;
    net::HttpClient& client;
    p2p::Limiter* limiter = nullptr;  // charged for what file servers send; null = no limit
    ProxyRules rules = {};            // how files are named
    // Whether a file that we have is given out while its origin cannot be reached ([proxy]
    // offline).
    bool allow_offline = true;
    int max_attempts = 5;  // without progress
    // An attempt that brings less counts as one without.
    uint64_t least_progress_bytes = 256 * 1024;
    std::chrono::milliseconds first_backoff{500};
    std::chrono::milliseconds max_backoff{10'000};
    std::chrono::milliseconds stall_timeout{10'000};
    // A body that brings fewer bytes in a window is no better than one that stalls.
    uint64_t low_speed_bytes = net::kLowSpeedBytes;
    std::chrono::milliseconds low_speed_window = net::kLowSpeedWindow;
    int max_redirects = 10;
    size_t parallel_downloads = 8;  // for readers; what comes beyond them is not stored
    // How long a reader waits for the origin's first answer.
    std::chrono::milliseconds head_timeout{15'000};
    const Clock& clock = RealClock();  // of the ages of partial files
  };
  // All of `options` must outlive this.
  explicit FileCache(Options options);
  ~FileCache();

  // The file, complete and in the store. `progress` runs on the calling thread. kInvalidArgument:
  // URL; kNotFound, kUnauthenticated, kPermissionDenied, kUnavailable: as the origin answered;
  // kDataLoss: not the digest that was expected (nothing is kept); kResourceExhausted: disk full;
  // kCancelled: `stop` (what arrived stays for the next call).
  Result<FileResult> Get(const FileRequest& request,
                         const std::function<void(const FileProgress&)>& progress,
                         std::stop_token stop);

  // The file for one reader, after the origin granted it to this very request. `method` is GET or
  // HEAD; a HEAD never starts a download. `begin_bytes`: where the reader's range begins; far ahead
  // of what is here it is better off at the origin. `only_stored`: as HEAD. Errors: URL, and those
  // of HttpClient where the origin cannot be asked and no stored file may be given out.
  Result<FileOffer> Offer(const FileRequest& request, const std::string& method,
                          uint64_t begin_bytes, bool only_stored, std::stop_token stop);

  // Forgets files that are in the store no more, and drops what arrived of one that nobody went on
  // with for kKeepPartialFile. Looks at a part of them; for now and then.
  Status Sweep();

  const ProxyRules& rules() const { return options_.rules; }
  FileIndex& index() { return index_; }
  // Cancels downloads for readers and joins their threads. Idempotent; Offer() then passes.
  void Stop();

 private:
  friend class FileDownload;
  // The download of this task that runs, or a new one that the caller must run.
  std::shared_ptr<GrowingFile> Join(const std::string& task_id, bool* is_new);
  void Leave(const std::string& task_id, const std::shared_ptr<GrowingFile>& file);
  // Of the registry blob that the URL names by its digest, where it is here.
  std::optional<FileIndex::Entry> FindBlob(const std::string& url) const;
  Result<FileOffer> OfferStored(const FileRequest& request, const std::string& method,
                                const FileIndex::Entry& entry, std::stop_token stop);
  // Of the download that Join() gave.
  Result<FileOffer> OfferGrowing(const FileRequest& request, const FileIndex::Entry& entry,
                                 uint64_t begin_bytes, const std::shared_ptr<GrowingFile>& growing,
                                 bool is_new, std::stop_token stop);
  bool StartDownload(const FileRequest& request, const std::string& task_id,
                     const std::shared_ptr<GrowingFile>& growing);

  const Options options_;
  FileIndex index_;
  ThreadPool downloads_;
  Mutex mutex_;
  bool stopped_ GUARDED_BY(mutex_) = false;
  size_t downloading_ GUARDED_BY(mutex_) = 0;                                       // for readers
  std::map<std::string, std::shared_ptr<GrowingFile>> running_ GUARDED_BY(mutex_);  // by task ID
};

}  // namespace hearth::plugin
