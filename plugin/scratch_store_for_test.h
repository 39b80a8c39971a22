// ScratchStore: a real Store in a folder of its own, with its index in memory.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"
#include "store/store.h"

namespace hearth::plugin {

class ScratchStore {
 public:
  explicit ScratchStore(store::Disk& disk = store::RealDisk())
      : cpu_({.name = "cpu", .threads = 2}) {
    char name[] = "/tmp/hearth-plugin-XXXXXX";
    root_ = ::mkdtemp(name);
    auto opened = store::Store::Open(
        {.root = root_, .cpu_pool = cpu_, .disk = disk, .kv = kv::MakeMemoryKv()});
    EXPECT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  ~ScratchStore() {
    store_.reset();
    EXPECT_TRUE(RemoveTree(root_).ok());
  }

  store::Store& store() { return *store_; }
  const std::filesystem::path& root() const { return root_; }

  // Puts `bytes` in as a complete, unclaimed blob.
  Digest Keep(const std::string& bytes) {
    const Digest digest = Digest::Of(bytes);
    auto grown = store_->blobs().Grow(digest, bytes.size());
    EXPECT_TRUE(grown.ok()) << grown.status();
    if (grown->writer) {
      EXPECT_TRUE(grown->blob->Write(0, bytes).ok());
    }
    EXPECT_TRUE(grown->blob->WaitComplete({}).ok());
    return digest;
  }

 private:
  ThreadPool cpu_;
  std::filesystem::path root_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace hearth::plugin
