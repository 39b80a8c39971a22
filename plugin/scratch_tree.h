// ScratchTree: a directory of a test's own, and any tree written down as sorted lines.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/digest.h"

namespace hearth::plugin {

// "name type mode uid:gid detail", type as in ls -l; detail: size and content of a file (its
// start), target, device; then "xattr=value" (hex) each and "linked" for more than one link.
inline std::string Describe(const std::filesystem::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) return "missing";
  std::ostringstream out;
  const mode_t type = info.st_mode & S_IFMT;
  const char* letters = type == S_IFDIR   ? "d"
                        : type == S_IFREG ? "-"
                        : type == S_IFLNK ? "l"
                        : type == S_IFCHR ? "c"
                        : type == S_IFBLK ? "b"
                                          : "p";
  out << letters << " ";
  if (type != S_IFLNK) out << std::oct << (info.st_mode & 07777) << std::dec << " ";
  out << info.st_uid << ":" << info.st_gid;
  if (type == S_IFREG) {
    std::ifstream file(path, std::ios::binary);
    std::string text(20, '\0');
    file.read(text.data(), 20);
    text.resize(static_cast<size_t>(file.gcount()));
    out << " " << info.st_size << " '" << text << "'";
    if (info.st_nlink > 1) out << " linked";
  }
  if (type == S_IFLNK) out << " -> " << std::filesystem::read_symlink(path).string();
  if (type == S_IFCHR || type == S_IFBLK) {
    out << " " << ::major(info.st_rdev) << ":" << ::minor(info.st_rdev);
  }
  char names[4096];
  const ssize_t size = ::llistxattr(path.c_str(), names, sizeof(names));
  std::set<std::string> sorted;
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
    sorted.insert(names + at);
  }
  for (const std::string& name : sorted) {
    uint8_t value[4096];
    const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value, sizeof(value));
    out << " " << name << "=" << ToHex({value, static_cast<size_t>(std::max<ssize_t>(got, 0))});
  }
  return out.str();
}

inline std::vector<std::string> DescribeTree(const std::filesystem::path& root) {
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    lines.push_back(entry.path().lexically_relative(root).string() + " " + Describe(entry.path()));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

class ScratchTree {
 public:
  ScratchTree() {
    std::string pattern = testing::TempDir() + "hearth-unpack-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    ::chmod(path_.c_str(), 0755);
  }
  ~ScratchTree() { std::filesystem::remove_all(path_); }
  ScratchTree(const ScratchTree&) = delete;
  ScratchTree& operator=(const ScratchTree&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path Make(const std::string& name) const {
    std::filesystem::create_directories(path_ / name);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace hearth::plugin
