#include "plugin/document.h"

#include "base/file.h"

namespace hearth::plugin {

Result<std::string> ReadDocument(const store::Blob& blob, uint64_t limit_bytes) {
  const std::string name = "document " + blob.digest().ToString();
  if (blob.size_bytes() > limit_bytes) {
    return ResourceExhausted(name + ": " + std::to_string(blob.size_bytes()) + " bytes, at most " +
                             std::to_string(limit_bytes) + " are read");
  }
  std::string bytes(blob.size_bytes(), '\0');
  const size_t got = TRY(ReadAt(blob.file()->get(), bytes, 0));
  if (got != bytes.size()) return DataLoss(name + ": file is short");
  return bytes;
}

}  // namespace hearth::plugin
