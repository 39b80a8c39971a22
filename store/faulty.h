// For tests: a scratch directory, a Disk and a Kv that fail when told to.
#pragma once

#include <stdlib.h>
#include <sys/mount.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/thread.h"
#include "kv/kv.h"
#include "store/disk.h"

namespace hearth::store {

// An empty directory, removed with it.
class Scratch {
 public:
  Scratch() {
    std::string path = (std::filesystem::temp_directory_path() / "hearth-store-XXXXXX").string();
    CHECK(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  ~Scratch() {
    (void)::umount(path_.c_str());  // where a test mounted something
    (void)RemoveTree(path_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Counts operations and says which of them fail. Any thread.
class Fault {
 public:
  // The n-th operation from now on fails (1 = the next), and with `lasting` all after it.
  void FailAt(int n, bool lasting) {
    MutexLock lock(mutex_);
    lasting_ = lasting;
    hit_ = false;
    left_ = n;
  }
  void Disarm() {
    MutexLock lock(mutex_);
    left_ = 0;
  }
  // Whether the operation that was to fail has come.
  bool hit() const {
    MutexLock lock(mutex_);
    return hit_;
  }

  Status Next(const char* what) {
    MutexLock lock(mutex_);
    if (left_ == 0) return OkStatus();
    if (left_ > 1) {
      --left_;
      return OkStatus();
    }
    hit_ = true;
    if (!lasting_) left_ = 0;
    return ResourceExhausted(std::string("injected: ") + what);
  }

 private:
  mutable Mutex mutex_;
  int left_ GUARDED_BY(mutex_) = 0;  // 0 = none fails
  bool hit_ GUARDED_BY(mutex_) = false;
  bool lasting_ GUARDED_BY(mutex_) = false;
};

class FaultyDisk : public Disk {
 public:
  explicit FaultyDisk(Fault& fault) : fault_(fault) {}
  Status Write(int fd, std::span<const char> data, uint64_t offset_bytes) override {
    TRY_STATUS(fault_.Next("write"));
    return Disk::Write(fd, data, offset_bytes);
  }
  Status SyncData(int fd) override {
    TRY_STATUS(fault_.Next("sync"));
    return Disk::SyncData(fd);
  }
  Status SyncDirectory(const std::filesystem::path& directory) override {
    TRY_STATUS(fault_.Next("sync directory"));
    return Disk::SyncDirectory(directory);
  }
  Status Resize(int fd, uint64_t size_bytes) override {
    TRY_STATUS(fault_.Next("resize"));
    return Disk::Resize(fd, size_bytes);
  }
  Status Link(const std::filesystem::path& from, const std::filesystem::path& to) override {
    TRY_STATUS(fault_.Next("link"));
    return Disk::Link(from, to);
  }
  Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    TRY_STATUS(fault_.Next("rename"));
    return Disk::Rename(from, to);
  }
  Status Unlink(const std::filesystem::path& path) override {
    TRY_STATUS(fault_.Next("unlink"));
    return Disk::Unlink(path);
  }
  Status Remove(const std::filesystem::path& path) override {
    TRY_STATUS(fault_.Next("remove"));
    if (path == undeletable) return FailedPrecondition("injected: remove " + path.string());
    return Disk::Remove(path);
  }
  Status MakeDirectory(const std::filesystem::path& path, uint32_t mode) override {
    TRY_STATUS(fault_.Next("mkdir"));
    return Disk::MakeDirectory(path, mode);
  }

  std::filesystem::path undeletable;

 private:
  Fault& fault_;
};

// Writes may fail, then nothing of the batch is applied.
class FaultyKv final : public kv::Kv {
 public:
  FaultyKv(kv::Kv& kv, Fault& fault) : kv_(kv), fault_(fault) {}
  Result<std::string> Get(kv::Family family, std::string_view key) const override {
    return kv_.Get(family, key);
  }
  Status Write(const kv::Batch& batch, kv::Sync sync) override {
    TRY_STATUS(fault_.Next("index write"));
    return kv_.Write(batch, sync);
  }
  Status ScanAfter(kv::Family family, std::string_view prefix, std::string_view after,
                   const Visit& visit) const override {
    return kv_.ScanAfter(family, prefix, after, visit);
  }

 private:
  kv::Kv& kv_;
  Fault& fault_;
};

}  // namespace hearth::store
