// Sealer: encrypts what must not be read from the store's files, with keys from a file of its own.
//
// AES-256-GCM; what a sealed text is for is bound to it, so that it opens nowhere else. The key
// file has one key of 64 hex digits a line: the first seals, all open; put a new one first to
// rotate, and drop the old one when nothing that it sealed is left. Immutable; any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/status.h"

namespace hearth::manager {

class Sealer {
 public:
  static constexpr size_t kKeyBytes = 32;
  static constexpr size_t kMaxKeys = 16;

  // Reads the keys. `make`: where the file is not there, it is made with one key, 0600.
  // kInvalidArgument: which line is no key; never says its content.
  static Result<std::unique_ptr<Sealer>> Open(const std::filesystem::path& key_file, bool make);

  // Hex text. `purpose` is no secret ("job/17").
  std::string Seal(std::string_view plain, std::string_view purpose) const;
  // kFailedPrecondition: sealed with a key that the file has not (any more); kDataLoss: not what
  // Seal() made for that purpose.
  Result<Secret<std::string>> Unseal(std::string_view sealed, std::string_view purpose) const;
  // The same, sealed with the first key; none: it is. Errors as Unseal().
  Result<std::optional<std::string>> Renew(std::string_view sealed, std::string_view purpose) const;

 private:
  explicit Sealer(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  const std::vector<std::string> keys_;  // raw
};

}  // namespace hearth::manager
