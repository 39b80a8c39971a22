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

// Texts of the list at `path`; empty where there is none.
Result<std::vector<std::string>> TomlTexts(std::string_view toml, const TomlPath& path);

// Adds `value` at the end of the top-level list `key`, made in front of the first table when it is
// absent. Unchanged where the list has it.
Result<std::string> AddToTomlList(std::string_view toml, const std::string& key,
                                  const std::string& value);
// Takes `value` out of the top-level list `key`; unchanged where it is not there.
Result<std::string> RemoveFromTomlList(std::string_view toml, const std::string& key,
                                       const std::string& value);

// The text of `key` in each element of the list of tables at `path`; "" where it has none.
Result<std::vector<std::string>> TomlTableTexts(std::string_view toml, const TomlPath& path,
                                                const std::string& key);
// The value at `path` as it is written; nullopt where there is none.
Result<std::optional<std::string>> TomlValueText(std::string_view toml, const TomlPath& path);
// Whether two TOML values are equal, however they are written.
bool SameTomlValue(const std::string& a, const std::string& b);
// Writes `value` (TOML: a quoted text, a list) at `path`: in place of the value there, as the first
// key of its table, or in a new table at the end. kFailedPrecondition: the table is written in a
// form that cannot grow, or something else would change.
Result<std::string> SetTomlValue(std::string_view toml, const TomlPath& path,
                                 const std::string& value);
// Takes the line with the value at `path` out; unchanged where there is none.
// kFailedPrecondition: it shares its line with something else.
Result<std::string> RemoveTomlValue(std::string_view toml, const TomlPath& path);
// As a person writes it: plugins."io.containerd.grpc.v1.cri".registry.
std::string TomlPathText(const TomlPath& path);

// A TOML text in quotes.
std::string TomlQuote(std::string_view text);

}  // namespace hearth::plugin
