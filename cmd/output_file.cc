#include "cmd/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

namespace hearth::cmd {

namespace {

constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

std::filesystem::path OutputFile::PartOf(const std::filesystem::path& path) {
  return path.string() + ".part";
}

Result<OutputFile> OutputFile::Open(const std::filesystem::path& path, uint64_t size_bytes) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return InvalidArgument(path.string() + " is a directory (name a file with -o FILE)");
  }
  const std::filesystem::path part = PartOf(path);
  Fd fd = TRY(OpenFile(part, O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
  OutputFile file(path, std::move(fd));
  TRY_STATUS(file.HashPresent(size_bytes));
  return file;
}

Status OutputFile::HashPresent(uint64_t size_bytes) {
  if (TRY(FileSize(fd_.get())) > size_bytes) return StartOver();
  std::vector<char> buffer(kBufferBytes);
  while (true) {
    const size_t n = TRY(ReadAt(fd_.get(), buffer, offset_bytes_));
    if (n == 0) return OkStatus();
    hash_.Update(buffer.data(), n);
    offset_bytes_ += n;
  }
}

Status OutputFile::Append(std::string_view data) {
  TRY_STATUS(WriteAllAt(fd_.get(), data, offset_bytes_));
  hash_.Update(data);
  offset_bytes_ += data.size();
  return OkStatus();
}

Status OutputFile::StartOver() {
  if (ftruncate(fd_.get(), 0) != 0) return ErrnoStatus(errno, "empty " + PartOf(path_).string());
  hash_.Reset();
  offset_bytes_ = 0;
  return OkStatus();
}

Status OutputFile::Finish(const Digest& digest) {
  const Digest got = hash_.Current();
  if (got != digest) {
    TRY_STATUS(StartOver());
    return DataLoss(PartOf(path_).string() + " is " + got.ToString() + ", not " +
                    digest.ToString());
  }
  TRY_STATUS(SyncData(fd_.get()));
  const std::filesystem::path part = PartOf(path_);
  if (rename(part.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, "rename " + part.string());
  }
  return OkStatus();
}

}  // namespace hearth::cmd
