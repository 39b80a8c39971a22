#include "plugin/unpacker.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <functional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/thread.h"
#include "plugin/byte_ring.h"
#include "plugin/inflate.h"
#include "plugin/layer_writer.h"
#include "plugin/tar_reader.h"

namespace hearth::plugin {
namespace {

// What is compressed, as the inflater reads it: while it waits for that, the writer has all that
// there was.
class PushingSource final : public ByteSource {
 public:
  PushingSource(ByteSource& source, ByteRing& ring) : source_(source), ring_(ring) {}
  Result<size_t> Read(std::span<char> out) override {
    ring_.Push();
    return source_.Read(out);
  }

 private:
  ByteSource& source_;
  ByteRing& ring_;
};

// The readers of the ring.
constexpr size_t kHasher = 0;
constexpr size_t kWriter = 1;

// The stages of an unpack: each on a thread of its own, this one on the caller's.
Status InflateInto(ByteRing& ring, ByteSource& inflater) {
  while (true) {
    const std::span<char> buffer = TRY(ring.AcquireForWrite());
    const size_t size = TRY(inflater.Read(buffer));
    if (size == 0) break;
    ring.Publish(size);
  }
  ring.Finish(OkStatus());
  return OkStatus();
}

Status HashStream(ByteRing& ring, Unpacked& unpacked) {
  Sha256 sha256;
  while (true) {
    const std::span<const char> bytes = TRY(ring.Next(kHasher));
    if (bytes.empty()) break;
    sha256.Update(bytes.data(), bytes.size());
    unpacked.tar_bytes += bytes.size();
  }
  unpacked.diff_id = sha256.Current();
  return OkStatus();
}

Status WriteFiles(ByteRing& ring, const UnpackOptions& options, Unpacked& unpacked) {
  LayerWriter::Options writer_options;
  writer_options.bottom = options.bottom;
  // The umask belongs to the process until this thread takes its own copy.
  if (::unshare(CLONE_FS) == 0) {
    ::umask(0);
    writer_options.umask_is_zero = true;
  }
  LayerWriter writer = TRY(LayerWriter::Open(options.root, writer_options));
  TarReader reader([&ring] { return ring.Next(kWriter); });
  TarEntry entry;
  while (TRY(reader.Next(entry))) {
    auto added = writer.Add(entry, reader);
    if (!added.ok()) return added.Annotate("unpack");
  }
  // What follows the archive belongs to the diff ID all the same.
  while (!TRY(ring.Next(kWriter)).empty()) {
  }
  TRY_STATUS(writer.Finish());
  const LayerWriter::Usage usage = TRY(writer.MeasureUsage());
  unpacked.disk_bytes = usage.disk_bytes;
  unpacked.inodes = usage.inodes;
  unpacked.implied_directories = writer.ImpliedDirectories();
  return OkStatus();
}

// One that runs beside the caller. What it fails with ends all others.
class Stage {
 public:
  explicit Stage(ByteRing& ring) : ring_(ring) {}
  ~Stage() {
    if (thread_.joinable()) thread_.join();
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  Status Start(const char* thread_name, std::function<Status()> work) {
    try {
      thread_ = std::thread([this, thread_name, work = std::move(work)] {
        NameThread(thread_name);
        status_ = work();
        if (!status_.ok()) ring_.Cancel(status_);
      });
    } catch (const std::system_error& error) {
      return ResourceExhausted(std::string("cannot start a thread to unpack with: ") +
                               error.what());
    }
    return OkStatus();
  }
  Status Join() {
    thread_.join();
    return status_;
  }

 private:
  ByteRing& ring_;
  Status status_;
  std::thread thread_;
};

struct LayerType {
  std::string_view media_type;
  Compression compression;
};

constexpr LayerType kLayerTypes[] = {
    {"application/vnd.docker.image.rootfs.diff.tar", Compression::kDetect},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::kGzip},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::kZstd},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar", Compression::kDetect},
    {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::kGzip},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::kNone},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::kGzip},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::kZstd},
    {"application/vnd.oci.image.layer.v1.tar", Compression::kNone},
    {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::kGzip},
    {"application/vnd.oci.image.layer.v1.tar+zstd", Compression::kZstd},
};

}  // namespace

Result<Compression> CompressionOf(std::string_view media_type) {
  for (const LayerType& known : kLayerTypes) {
    if (known.media_type == media_type) return known.compression;
  }
  return Unimplemented("media type " + std::string(media_type) +
                       " is no layer that can be unpacked here (tar, tar+gzip, tar+zstd can)");
}

Result<Unpacked> Unpack(ByteSource& source, const UnpackOptions& options, std::stop_token stop) {
  ByteRing ring(options.ring_buffers, /*readers=*/2);
  Unpacked unpacked;
  Stage hasher(ring);
  Stage writer(ring);
  Status started = hasher.Start("unpack-hash", [&] { return HashStream(ring, unpacked); });
  if (started.ok()) {
    started = writer.Start("unpack-write", [&] { return WriteFiles(ring, options, unpacked); });
  }
  if (!started.ok()) {
    ring.Cancel(started);
    return started;
  }
  const std::stop_callback on_stop(stop, [&] { ring.Cancel(Cancelled("unpack was stopped")); });
  PushingSource compressed(source, ring);
  const auto inflater =
      MakeInflater(compressed, options.compression, options.zstd_window_limit_bytes, stop);
  const Status inflated = InflateInto(ring, *inflater);
  if (!inflated.ok()) ring.Cancel(inflated);
  const Status hashed = hasher.Join();
  // The writer fails with the others' error, or has failed first with its own.
  TRY_STATUS(writer.Join());
  TRY_STATUS(hashed);
  TRY_STATUS(inflated);
  TRY_STATUS(ResolveImpliedDirectories(options.root, options.lower, unpacked.implied_directories));
  return unpacked;
}

}  // namespace hearth::plugin
