// TomlDocument and TomlSection: a TOML file read key by key, so that every key is either taken by
// somebody or named in an error.
//
// One thread at a time. A section reads into a variable that holds the default already: an absent
// key leaves it alone. The first bad value is kept and returned by TomlDocument::Finish(); reading
// goes on after it, so that callers need no checks in between.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::config {

// One table of the document; a plain handle, valid as long as its document.
class TomlSection {
 public:
  struct State;
  TomlSection(std::shared_ptr<State> state, const void* table, std::string path);

  void Text(std::string_view key, std::string& out);
  void Bool(std::string_view key, bool& out);
  void Integer(std::string_view key, uint64_t& out, uint64_t min, uint64_t max);
  // "128MiB" or a number of bytes.
  void Bytes(std::string_view key, uint64_t& out);
  // "5s".
  void Duration(std::string_view key, std::chrono::nanoseconds& out);
  void Texts(std::string_view key, std::vector<std::string>& out);
  // A table of texts: { zone = "a" }.
  void TextMap(std::string_view key, std::map<std::string, std::string>& out);
  // A text or a number, handed over as text ("20%", "0").
  void Scalar(std::string_view key, const std::function<Status(const std::string&)>& take);
  // As Text(), then `check` judges it.
  void CheckedText(std::string_view key, std::string& out,
                   const std::function<Status(const std::string&)>& check);

  // The table at `key`, an empty one where it is absent.
  TomlSection Table(std::string_view key);
  // The tables of an array of tables ([[key]]), in order.
  std::vector<TomlSection> Tables(std::string_view key);
  // Every table inside this one by name, for [registry."host:port"].
  std::vector<std::pair<std::string, TomlSection>> Named();

  // Whether the document has `key`.
  bool Has(std::string_view key);
  // Says that `key` is bad because of `why`.
  void Reject(std::string_view key, const std::string& why);

 private:
  std::string PathOf(std::string_view key) const;

  std::shared_ptr<State> state_;
  const void* table_;  // a toml::table of the document; null = absent
  std::string path_;   // "mirror", "" for the root
};

class TomlDocument {
 public:
  // `name` is the file's, for messages; `sets` are "KEY=VALUE" laid over it: the key dotted TOML,
  // the value TOML where it parses as that, else a text. kInvalidArgument names file and line.
  static Result<TomlDocument> Parse(std::string_view text, const std::string& name,
                                    const std::vector<std::string>& sets);
  TomlSection Root() const;
  // The first bad value, else the first key that nobody read (with the near name that somebody
  // did): kInvalidArgument "FILE:LINE: KEY: why". Call it after everything was read.
  Status Finish() const;

 private:
  explicit TomlDocument(std::shared_ptr<TomlSection::State> state) : state_(std::move(state)) {}

  std::shared_ptr<TomlSection::State> state_;
};

}  // namespace hearth::config
