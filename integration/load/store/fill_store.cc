// fill_store: a node's store with many blobs that containerd has and many unpacked layers.
//
//   fill_store ROOT BLOBS LAYERS
//
// Blob number i holds the text of that number. Quick only where syncs are: on tmpfs.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "store/store.h"

namespace hearth::load {
namespace {

constexpr size_t kThreads = 4;

Status AddBlob(store::Store& store, size_t number) {
  const std::string bytes = std::to_string(number);
  const Digest digest = Digest::Of(bytes);
  const auto grown = TRY(store.blobs().Grow(digest, bytes.size()));
  TRY_STATUS(grown.blob->Write(0, bytes));
  TRY_STATUS(grown.blob->WaitComplete({}));
  return store.blobs().Claim(digest).status();
}

Status AddLayer(store::Store& store, size_t number) {
  const std::string name = std::to_string(number);
  store::LayerInfo layer;
  layer.chain = Digest::Of("chain " + name);
  layer.diff_id = Digest::Of("diff " + name);
  layer.blob = Digest::Of(name);
  layer.directory = TRY(store.snapshots().BeginLayer());
  layer.disk_bytes = 4096;
  layer.inodes = 1;
  layer.durable = true;
  layer.boot_id = BootId();
  return store.snapshots().CommitLayer(layer);
}

Status AddAll(store::Store& store, size_t count, Status (*add)(store::Store&, size_t)) {
  std::atomic<size_t> next = 0;
  std::vector<Status> results(kThreads);
  std::vector<std::thread> threads;
  for (Status& result : results) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < count && result.ok(); i = next++) result = add(store, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& result : results) TRY_STATUS(result);
  return OkStatus();
}

Status Fill(const char* root, size_t blobs, size_t layers) {
  ThreadPool pool({.name = "cpu", .threads = kThreads});
  const auto store = TRY(store::Store::Open({.root = root, .cpu_pool = pool}));
  TRY_STATUS(AddAll(*store, blobs, &AddBlob));
  return AddAll(*store, layers, &AddLayer);
}

}  // namespace
}  // namespace hearth::load

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: fill_store ROOT BLOBS LAYERS\n", stderr);
    return 2;
  }
  const hearth::Status done = hearth::load::Fill(argv[1], std::strtoull(argv[2], nullptr, 10),
                                                 std::strtoull(argv[3], nullptr, 10));
  if (done.ok()) return 0;
  std::fprintf(stderr, "fill_store: %s\n", done.ToString().c_str());
  return 1;
}
