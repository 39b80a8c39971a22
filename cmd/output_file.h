// OutputFile: a file that is fetched into FILE.part, resumed there by a later run, and renamed to
// FILE when its digest is right.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"

namespace hearth::cmd {

class OutputFile {
 public:
  // Opens or makes `path`.part. What it holds already counts, up to `size_bytes`; kInvalidArgument
  // where `path` is a directory.
  static Result<OutputFile> Open(const std::filesystem::path& path, uint64_t size_bytes);

  // Bytes that need not be fetched any more.
  uint64_t offset_bytes() const { return offset_bytes_; }
  Status Append(std::string_view data);
  // Throws away what is there.
  Status StartOver();
  // Renames. kDataLoss when the bytes are not `digest`: then the part is empty again.
  Status Finish(const Digest& digest);

 private:
  OutputFile(std::filesystem::path path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  static std::filesystem::path PartOf(const std::filesystem::path& path);
  Status HashPresent(uint64_t size_bytes);

  std::filesystem::path path_;
  Fd fd_;
  uint64_t offset_bytes_ = 0;
  Sha256 hash_;
};

}  // namespace hearth::cmd
