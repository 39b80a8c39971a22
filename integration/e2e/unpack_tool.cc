// unpack_tool BLOB MEDIA_TYPE ROOT [LOWER…]: unpacks a layer as the node does, for tests and
// benches that compare trees. LOWER: fs directories of the layers below, top first; none = a bottom
// layer. Prints one JSON document.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "plugin/unpacker.h"

namespace {

using hearth::Fd;
using hearth::Result;
using hearth::Status;

class FileSource final : public hearth::plugin::ByteSource {
 public:
  explicit FileSource(Fd fd) : fd_(std::move(fd)) {}
  Result<size_t> Read(std::span<char> out) override {
    const ssize_t got = ::read(fd_.get(), out.data(), out.size());
    if (got < 0) return hearth::ErrnoStatus(errno, "read the blob");
    return static_cast<size_t>(got);
  }

 private:
  Fd fd_;
};

Status Run(int argc, char** argv) {
  hearth::plugin::UnpackOptions options;
  options.compression = TRY(hearth::plugin::CompressionOf(argv[2]));
  options.root = argv[3];
  for (int i = 4; i < argc; ++i) options.lower.emplace_back(argv[i]);
  options.bottom = options.lower.empty();
  FileSource source(TRY(hearth::OpenFile(argv[1], O_RDONLY)));
  const auto unpacked = TRY(hearth::plugin::Unpack(source, options, {}));
  const nlohmann::json json = {{"diff_id", unpacked.diff_id.ToString()},
                               {"tar_bytes", unpacked.tar_bytes},
                               {"disk_bytes", unpacked.disk_bytes},
                               {"inodes", unpacked.inodes},
                               {"implied_directories", unpacked.implied_directories}};
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  std::puts(text.c_str());
  return hearth::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fputs("usage: unpack_tool BLOB MEDIA_TYPE ROOT [LOWER...]\n", stderr);
    return 2;
  }
  const Status status = Run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "unpack_tool: %s\n", status.ToString().c_str());
  return 1;
}
