// ContainerdClient: the few calls that we make to containerd's own API.
//
// Any thread but containerd's handlers in us (they would deadlock). Every call has a deadline.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/status.h"

namespace hearth::plugin {

// Labels by which containerd's GC finds what a blob needs: other blobs, and in the snapshotter
// named behind it a snapshot.
inline constexpr char kContentGcRef[] = "containerd.io/gc.ref.content.";
inline constexpr char kSnapshotGcRef[] = "containerd.io/gc.ref.snapshot.";

// What containerd is told about a blob when it adopts it.
struct ContentToAdopt {
  Digest digest;
  uint64_t size_bytes = 0;
  std::string ref;                            // of the ingest; unique per blob
  std::map<std::string, std::string> labels;  // gc.ref.* among them
};

struct ImageRecord {
  std::string name;
  std::string media_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::map<std::string, std::string> labels;
};

struct ContainerdVersion {
  std::string version;
  std::string revision;
};

struct ContainerdServer {
  std::string uuid;    // of its root
  uint64_t pid = 0;    // 0 where its version does not say
  uint64_t pidns = 0;  // inode of the namespace that `pid` is in
};

// A type of containerd's plugins, and the one of it that asks us.
inline constexpr char kContentType[] = "io.containerd.content.v1";
inline constexpr char kContentPlugin[] = "hearth-content";

class ContainerdClient {
 public:
  struct Options {
    std::string address;  // unix socket path
    std::chrono::milliseconds timeout{10'000};
    // Server() waits only so long for one that is down: a connection to us is held up meanwhile.
    std::chrono::milliseconds server_timeout{500};
  };
  static std::unique_ptr<ContainerdClient> Create(Options options);
  virtual ~ContainerdClient() = default;

  // Ends the calls under way and fails all later ones with kCancelled.
  virtual void Stop() = 0;

  virtual Result<ContainerdVersion> Version() = 0;
  virtual Result<ContainerdServer> Server() = 0;

  // A lease that ends by itself after `expire`; its ID goes with the calls below ("" = none).
  virtual Result<std::string> CreateLease(const std::string& ns, std::chrono::seconds expire) = 0;
  virtual Status DeleteLease(const std::string& ns, const std::string& lease) = 0;

  // Makes containerd's metadata take a blob that our store has: no byte moves. kFailedPrecondition
  // when containerd asks for the bytes (our store is not its content store).
  virtual Status AdoptContent(const std::string& ns, const std::string& lease,
                              const ContentToAdopt& content) = 0;
  virtual Result<bool> HasContent(const std::string& ns, const Digest& digest) = 0;

  // Prepare with label snapshot.ref, which our snapshotter answers with kAlreadyExists. OK also
  // when the namespace has it already. kNotFound: our layer is not there.
  virtual Status AdoptSnapshot(const std::string& ns, const std::string& lease,
                               const std::string& snapshotter, const Digest& chain,
                               const std::optional<Digest>& parent_chain) = 0;
  virtual Result<bool> HasSnapshot(const std::string& ns, const std::string& snapshotter,
                                   const std::string& name) = 0;
  // Bytes on disk of a snapshot alone, as its snapshotter counts them. kNotFound.
  virtual Result<uint64_t> SnapshotBytes(const std::string& ns, const std::string& snapshotter,
                                         const std::string& name) = 0;

  virtual Result<std::vector<std::string>> ListNamespaces() = 0;
  virtual Result<std::vector<ImageRecord>> ListImages(const std::string& ns) = 0;
  // Adds labels to a blob that the namespace has.
  virtual Status LabelBlob(const std::string& ns, const Digest& digest,
                           const std::map<std::string, std::string>& labels) = 0;
  virtual Result<ImageRecord> GetImage(const std::string& ns, const std::string& name) = 0;
  // Makes the record, or moves it to the new target.
  virtual Status PutImage(const std::string& ns, const ImageRecord& image) = 0;
  // Has containerd tell of the image anew, which stays as it is. CRI leaves images out that were
  // not whole at its start, until it hears of them. kNotFound.
  virtual Status TouchImage(const std::string& ns, const std::string& name) = 0;
  // True when the plugin ("io.containerd.snapshotter.v1", "hearth") is loaded.
  virtual Result<bool> HasPlugin(const std::string& type, const std::string& id) = 0;
  // "" where there is no such namespace or label.
  virtual Result<std::string> NamespaceLabel(const std::string& ns, const std::string& label) = 0;
  // Adds labels to a namespace, made when absent.
  virtual Status LabelNamespace(const std::string& ns,
                                const std::map<std::string, std::string>& labels) = 0;
};

// `work` under a lease of its own, which goes with it; it lives for `life` where we are killed in
// between. An error of `work`, or of making the lease.
Status UnderLease(ContainerdClient& containerd, const std::string& ns, std::chrono::seconds life,
                  const std::function<Status(const std::string& lease)>& work);

}  // namespace hearth::plugin
