// ImageMove: a command's calls of the node that move images between containerd's built-in store and
// ours (adopt, uninstall), told as lines and summed up.
//
// One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/ctr.h"
#include "cmd/interrupt.h"

namespace hearth::cmd {

inline constexpr const char* kContentDirectory = "/io.containerd.content.v1.content";

// containerd's own view of its files, as TOML.
Result<std::string> DumpContainerdConfig();
// Where the built-in content store of a containerd with that configuration lies.
Result<std::string> BuiltInContentRoot(const std::string& dump);
// Whether containerd has our snapshotter loaded; kUnavailable when it does not answer.
Result<bool> SnapshotterLoaded(const Ctr& ctr);
// Whether its content store is ours; the same error.
Result<bool> ContentLoaded(const Ctr& ctr);
// Runs `command` by the shell, and waits until containerd answers with our content store, or
// without our snapshotter.
Status RestartContainerd(const std::string& command, const Ctr& ctr, bool with_ours,
                         const Interrupt& interrupt);

class ImageMove {
 public:
  // `path` is the call's: "/v1/adopt". `say` lines on stdout.
  ImageMove(AdminClient& node, std::string path, bool say, const Interrupt& interrupt);
  ~ImageMove();
  ImageMove(const ImageMove&) = delete;
  ImageMove& operator=(const ImageMove&) = delete;

  // One call with that body, a JSON object. `tell_blobs`: a line for each.
  Status Run(const std::string& body, bool tell_blobs);
  void Say(const std::string& line) const;

  // Of all calls; images as their last event said.
  uint64_t blobs() const;
  size_t failed() const;
  size_t images() const;
  // Of the first call that told, in our store's file system: what it takes there, and what is free.
  struct Room {
    uint64_t needed_bytes = 0;
    uint64_t free_bytes = 0;
  };
  std::optional<Room> room() const;
  // "12 blobs, 1.2 GiB (12 hard-linked)"
  std::string BlobsLine() const;
  // The JSON object {"blobs", "bytes", "reflinked", "linked", "copied", "images", "failed"}.
  std::string Report() const;
  // "ns name: why" of those that failed.
  std::vector<std::string> Failures() const;

 private:
  Status Take(std::string_view line, bool tell_blobs, bool& done);

  struct Sums;
  AdminClient& node_;
  const std::string path_;
  const bool say_;
  const Interrupt& interrupt_;
  const std::unique_ptr<Sums> sums_;
};

}  // namespace hearth::cmd
