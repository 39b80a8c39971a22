// A blob store of its own, whose disk and index can fail, for the tests of blobs.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "store/blob_store.h"
#include "store/faulty.h"

namespace hearth::store {

inline std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

inline Deadline Soon() { return Deadline::After(std::chrono::seconds(20)); }

class BlobStoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() { ReopenOn(disk_); }
  void ReopenOn(Disk& disk) {
    store_.reset();
    auto opened = BlobStore::Open({.root = scratch_.path(),
                                   .kv = faulty_kv_,
                                   .cpu_pool = pool_,
                                   .clock = clock_,
                                   .disk = disk});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }
  std::shared_ptr<Blob> Grow(const std::string& bytes) {
    auto grown = store_->Grow(Digest::Of(bytes), bytes.size());
    EXPECT_TRUE(grown.ok()) << grown.status();
    EXPECT_TRUE(grown->writer);
    return grown->blob;
  }
  Digest Add(const std::string& bytes) {
    auto blob = Grow(bytes);
    EXPECT_TRUE(blob->Write(0, bytes).ok());
    EXPECT_TRUE(blob->WaitComplete({}, Soon()).ok()) << blob->failure();
    return blob->digest();
  }
  static std::string ReadAll(Blob& blob) {
    std::string all;
    std::string buffer(100'000, '\0');
    while (true) {
      const auto got = blob.Read(all.size(), buffer, {}, Soon());
      EXPECT_TRUE(got.ok()) << got.status();
      if (!got.ok() || *got == 0) return all;
      all.append(buffer, 0, *got);
    }
  }
  std::vector<std::string> Problems() {
    std::vector<std::string> problems;
    EXPECT_TRUE(
        store_->Verify(false, [&](const std::string& p) { problems.push_back(p); }, {}).ok());
    return problems;
  }
  std::filesystem::path PathOf(const Digest& digest) {
    return scratch_.path() / "blobs/sha256" / digest.hex().substr(0, 2) / digest.hex();
  }
  StatusCode InfoCode(const Digest& digest) { return store_->Info(digest).status().code(); }

  Scratch scratch_;
  FakeClock clock_;
  Fault fault_;
  FaultyDisk disk_{fault_};
  std::unique_ptr<kv::Kv> kv_ = kv::MakeMemoryKv();
  FaultyKv faulty_kv_{*kv_, fault_};
  ThreadPool pool_{{.name = "cpu", .threads = 2}};
  std::unique_ptr<BlobStore> store_;
};

}  // namespace hearth::store
