// stage_bench LAYOUT FOLDER: what the stages of a pull cost, each alone on one thread: the layers
// of the OCI layout are hashed and written as blobs, inflated, hashed again, and written as files
// below FOLDER. Prints their CPU seconds as one JSON document: by as many cores as there are, a
// pull that does just this cannot be faster.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "plugin/inflate.h"
#include "plugin/layer_writer.h"
#include "plugin/tar_reader.h"
#include "plugin/unpacker.h"

namespace {

using hearth::Fd;
using hearth::Result;
using hearth::Status;
using nlohmann::json;
namespace plugin = hearth::plugin;

constexpr size_t kStepBytes = 256 * 1024;  // as the node's

// CPU seconds of this thread from its making on.
class Cpu {
 public:
  double seconds() const { return Now() - start_; }

 private:
  static double Now() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  }
  const double start_ = Now();
};

struct Stages {
  double hash_blobs = 0;
  double write_blobs = 0;
  double inflate = 0;
  double hash_layers = 0;
  double write_files = 0;
  uint64_t blob_bytes = 0;
  uint64_t layer_bytes = 0;
};

class MemorySource final : public plugin::ByteSource {
 public:
  explicit MemorySource(std::span<const char> bytes) : left_(bytes) {}
  Result<size_t> Read(std::span<char> out) override {
    const size_t size = std::min(out.size(), left_.size());
    std::copy_n(left_.begin(), size, out.begin());
    left_ = left_.subspan(size);
    return size;
  }

 private:
  std::span<const char> left_;
};

std::unique_ptr<plugin::ByteSource> Inflater(MemorySource& blob) {
  return plugin::MakeInflater(blob, plugin::Compression::kDetect,
                              plugin::UnpackOptions().zstd_window_limit_bytes);
}

Result<std::string> Load(const std::filesystem::path& path) {
  const Fd fd = TRY(hearth::OpenFile(path, O_RDONLY));
  std::string bytes(TRY(hearth::FileSize(fd.get())), '\0');
  if (TRY(hearth::ReadAt(fd.get(), bytes, 0)) != bytes.size()) {
    return hearth::DataLoss(path.string() + " is shorter than it was");
  }
  return bytes;
}

Status KeepBlob(std::span<const char> bytes, const std::filesystem::path& file, Stages& stages) {
  const Fd fd = TRY(hearth::OpenFile(file, O_WRONLY | O_CREAT, 0600));
  hearth::Sha256 hash;
  for (size_t at = 0; at < bytes.size(); at += kStepBytes) {
    const auto step = bytes.subspan(at, std::min(kStepBytes, bytes.size() - at));
    const Cpu writing;
    TRY_STATUS(hearth::WriteAllAt(fd.get(), step, at));
    stages.write_blobs += writing.seconds();
    const Cpu hashing;
    hash.Update(step.data(), step.size());
    stages.hash_blobs += hashing.seconds();
  }
  stages.blob_bytes += bytes.size();
  return hearth::OkStatus();
}

Status InflateAndHash(std::span<const char> bytes, Stages& stages) {
  MemorySource blob(bytes);
  const auto inflater = Inflater(blob);
  std::vector<char> buffer(kStepBytes);
  hearth::Sha256 hash;
  while (true) {
    const Cpu inflating;
    const size_t got = TRY(inflater->Read(buffer));
    stages.inflate += inflating.seconds();
    if (got == 0) return hearth::OkStatus();
    const Cpu hashing;
    hash.Update(buffer.data(), got);
    stages.hash_layers += hashing.seconds();
    stages.layer_bytes += got;
  }
}

Status WriteFiles(std::span<const char> bytes, const std::filesystem::path& root, Stages& stages) {
  MemorySource blob(bytes);
  const auto inflater = Inflater(blob);
  std::vector<char> buffer(kStepBytes);
  double inflating = 0;
  const Cpu all;
  plugin::TarReader reader([&]() -> Result<std::span<const char>> {
    const Cpu cpu;
    const size_t got = TRY(inflater->Read(buffer));
    inflating += cpu.seconds();
    return std::span<const char>(buffer.data(), got);
  });
  plugin::LayerWriter::Options options;
  options.umask_is_zero = true;
  auto writer = TRY(plugin::LayerWriter::Open(root, options));
  plugin::TarEntry entry;
  while (TRY(reader.Next(entry))) TRY_STATUS(writer.Add(entry, reader));
  TRY_STATUS(writer.Finish());
  TRY_STATUS(writer.MeasureUsage().status());
  stages.write_files += all.seconds() - inflating;
  return hearth::OkStatus();
}

json Document(const std::filesystem::path& layout, const json& descriptor) {
  const std::string digest = descriptor.at("digest");
  std::ifstream file(layout / "blobs/sha256" / digest.substr(digest.find(':') + 1));
  return json::parse(file);
}

Status Run(const std::filesystem::path& layout, const std::filesystem::path& folder) {
  std::ifstream index(layout / "index.json");
  const json manifest = Document(layout, json::parse(index).at("manifests").at(0));
  ::umask(0);
  Stages stages;
  for (const json& layer : manifest.at("layers")) {
    const std::string digest = layer.at("digest");
    const std::string hex = digest.substr(digest.find(':') + 1);
    const std::string bytes = TRY(Load(layout / "blobs/sha256" / hex));
    TRY_STATUS(KeepBlob(bytes, folder / (hex + ".blob"), stages));
    TRY_STATUS(InflateAndHash(bytes, stages));
    std::filesystem::create_directory(folder / hex);
    TRY_STATUS(WriteFiles(bytes, folder / hex, stages));
  }
  const json document = {
      {"hash_blobs", stages.hash_blobs},   {"write_blobs", stages.write_blobs},
      {"inflate", stages.inflate},         {"hash_layers", stages.hash_layers},
      {"write_files", stages.write_files}, {"blob_bytes", stages.blob_bytes},
      {"layer_bytes", stages.layer_bytes},
  };
  std::puts(document.dump().c_str());
  return hearth::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: stage_bench LAYOUT FOLDER\n", stderr);
    return 2;
  }
  try {
    const Status status = Run(argv[1], argv[2]);
    if (status.ok()) return 0;
    std::fprintf(stderr, "stage_bench: %s\n", status.ToString().c_str());
  } catch (const std::exception& error) {  // of the JSON and the folders
    std::fprintf(stderr, "stage_bench: %s\n", error.what());
  }
  return 1;
}
