// YamlObject: a stranger's YAML (or JSON) document read field by field, so that every field is
// either taken or named in an error with its line.
//
// One thread at a time. All problems of a file are collected, so that one try shows them all; the
// getters leave their argument alone where the field is absent, null, empty or bad.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth::manager {

// What is wrong with a file: "line 12: spec.images: …" per problem, the first kMax of them.
class YamlProblems {
 public:
  static constexpr size_t kMax = 20;

  // `line` from 1; 0 where there is none.
  void Add(size_t line, const std::string& what);
  // kInvalidArgument with all of them, one per line.
  Status ToStatus() const;

 private:
  std::vector<std::string> problems_;
  size_t more_ = 0;
};

class YamlObject {
 public:
  static constexpr uint64_t kMaxBytes = 1024 * 1024;
  static constexpr size_t kMaxValues = 100'000;  // of some 500 bytes each

  // The documents of a stream, empty ones left out. kInvalidArgument: not YAML, or more than
  // kMaxValues values (names the line); of keys that end in a full-width colon it tells `problems`
  // and reads on. kResourceExhausted: larger than kMaxBytes. `problems` must outlive what is
  // returned.
  static Result<std::vector<YamlObject>> ParseAll(std::string_view text, YamlProblems& problems);

  ~YamlObject();
  YamlObject(YamlObject&&) noexcept;
  YamlObject& operator=(YamlObject&&) noexcept;

  bool Has(const std::string& name) const;
  void Text(const std::string& name, std::string& out);
  // A number counts as the text it is written as.
  void TextOrNumber(const std::string& name, std::string& out);
  void Texts(const std::string& name, std::vector<std::string>& out);
  void Pairs(const std::string& name, std::map<std::string, std::string>& out);
  void Integer(const std::string& name, uint64_t max, uint64_t& out);
  void Boolean(const std::string& name, bool& out);
  std::optional<YamlObject> Object(const std::string& name);
  std::vector<YamlObject> Objects(const std::string& name);

  // Read and left aside, with all that is below.
  void Ignore(const std::string& name);
  // `wrong` is a name that people write for `right`, too far from it to be guessed.
  void Misspelling(const std::string& wrong, const std::string& right);
  // Says that `name` (or, with "", this object) is bad because of `why`.
  void Reject(const std::string& name, const std::string& why);
  // Names the fields that nobody read. Call it after the last getter.
  void Finish();

 private:
  struct State;
  explicit YamlObject(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hearth::manager
