#include "plugin/share_blob.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>

namespace hearth::plugin {

namespace {

constexpr size_t kBufferBytes = 1 << 20;

// Goes through the bytes of `from`, writes them to `to` where there is one, and returns their hash.
Result<Digest> HashInto(const Fd& from, const Fd* to, const std::stop_token& stop) {
  Sha256 hash;
  std::string buffer(kBufferBytes, '\0');
  uint64_t offset = 0;
  while (true) {
    if (stop.stop_requested()) return Cancelled("copying a blob");
    const size_t got = TRY(ReadAt(from.get(), buffer, offset));
    if (got == 0) return hash.Current();
    hash.Update(buffer.data(), got);
    if (to != nullptr) TRY_STATUS(WriteAllAt(to->get(), {buffer.data(), got}, offset));
    offset += got;
  }
}

// kCopy = neither shared blocks nor a second name is possible here, and `to` is not there.
Result<SharedBy> ShareFile(const Fd& source, const std::filesystem::path& to, mode_t mode) {
  {
    const Fd target = TRY(OpenFile(to, O_WRONLY | O_CREAT | O_TRUNC, mode));
    if (::ioctl(target.get(), FICLONE, source.get()) == 0) return SharedBy::kReflink;
  }
  if (::unlink(to.c_str()) < 0) return ErrnoStatus(errno, "remove " + to.string());
  // By the descriptor: whatever has its name by now, these are the bytes.
  const std::string from = "/proc/self/fd/" + std::to_string(source.get());
  if (::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return SharedBy::kLink;
  }
  if (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == ENOTSUP || errno == ENOENT) {
    return SharedBy::kCopy;
  }
  return ErrnoStatus(errno, "link to " + to.string());
}

Result<SharedBy> Share(const Fd& source, const std::filesystem::path& to, const Digest& digest,
                       mode_t mode, const std::stop_token& stop) {
  const SharedBy how = TRY(ShareFile(source, to, mode));
  std::optional<Fd> copy;
  if (how == SharedBy::kCopy) copy.emplace(TRY(OpenFile(to, O_WRONLY | O_CREAT | O_EXCL, mode)));
  const Digest found = TRY(HashInto(source, copy ? &*copy : nullptr, stop));
  if (found != digest) return DataLoss("its bytes hash to " + found.ToString());
  const Fd shared = TRY(OpenFile(to, O_RDONLY));
  TRY_STATUS(SyncData(shared.get()));
  return how;
}

}  // namespace

const char* NameOf(SharedBy how) {
  switch (how) {
    case SharedBy::kThere:
      return "there";
    case SharedBy::kReflink:
      return "reflink";
    case SharedBy::kLink:
      return "link";
    case SharedBy::kCopy:
      return "copy";
  }
  return "";
}

Result<SharedBy> ShareBlob(const Fd& source, const std::filesystem::path& to, const Digest& digest,
                           mode_t mode, const std::stop_token& stop) {
  if (::unlink(to.c_str()) < 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove " + to.string());
  }
  const auto how = Share(source, to, digest, mode, stop);
  if (!how.ok()) (void)::unlink(to.c_str());
  return how;
}

bool CanShare(const std::filesystem::path& one, const std::filesystem::path& other) {
  struct stat first {};
  struct stat second {};
  return ::stat(one.c_str(), &first) == 0 && ::stat(other.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev;
}

}  // namespace hearth::plugin
