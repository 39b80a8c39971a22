#include "cmd/process_files.h"

#include <fcntl.h>

#include <limits>

#include "base/file.h"
#include "base/units.h"

namespace hearth::cmd {

namespace {

constexpr size_t kMaxBytes = 64 * 1024;

}  // namespace

Result<std::string> ReadProcessFile(const std::string& path) {
  std::string text(kMaxBytes, '\0');
  const Fd fd = TRY(OpenFile(path, O_RDONLY));
  text.resize(TRY(ReadAt(fd.get(), text, 0)));
  return text;
}

std::optional<uint64_t> MaxOpenFiles(std::string_view limits) {
  constexpr std::string_view kName = "Max open files";
  const size_t at = limits.find(kName);
  if (at == std::string_view::npos) return std::nullopt;
  limits.remove_prefix(at + kName.size());
  limits.remove_prefix(std::min(limits.size(), limits.find_first_not_of(' ')));
  const std::string_view soft = limits.substr(0, limits.find_first_of(" \n"));
  if (soft == "unlimited") return std::numeric_limits<uint64_t>::max() / 8;
  return ParseDecimal(soft);
}

bool HasFileSystem(std::string_view filesystems, std::string_view name) {
  const std::string line = "\t" + std::string(name) + "\n";
  return filesystems.find(line) != std::string_view::npos;
}

}  // namespace hearth::cmd
