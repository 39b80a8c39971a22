// Edits of a TOML file's text that leave every other byte as it is, comments too; and what a
// containerd configuration says at a key.
//
// Pure functions. kInvalidArgument: the text is not TOML (line and reason), or a key holds another
// kind of value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::plugin {

using TomlPath = std::vector<std::string>;

// Text at `path`; nullopt where there is none.
Result<std::optional<std::string>> TomlText(std::string_view toml, const TomlPath& path);
Result<std::optional<int64_t>> TomlInteger(std::string_view toml, const TomlPath& path);
// Whether there is a non-empty table (or any other value) at `path`.
Result<bool> TomlHas(std::string_view toml, const TomlPath& path);
// Keys of the table at `path`; empty where there is none.
Result<std::vector<std::string>> TomlKeys(std::string_view toml, const TomlPath& path);
// Texts of a top-level list; empty where there is none.
Result<std::vector<std::string>> TomlList(std::string_view toml, const std::string& key);

// Adds `value` at the end of the top-level list `key`, made in front of the first table when it is
// absent. Unchanged where the list has it.
Result<std::string> AddToTomlList(std::string_view toml, const std::string& key,
                                  const std::string& value);
// Takes `value` out of the top-level list `key`; unchanged where it is not there.
Result<std::string> RemoveFromTomlList(std::string_view toml, const std::string& key,
                                       const std::string& value);

// A TOML text in quotes.
std::string TomlQuote(std::string_view text);

}  // namespace hearth::plugin
