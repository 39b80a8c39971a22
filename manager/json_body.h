// JsonBody: a stranger's JSON object read field by field, so that every field is either taken or
// named in an error.
//
// One thread at a time. An absent field, null, and an empty text or list leave the default alone. A
// name of several words may be written "snake_case" or "camelCase". The first bad value, of the
// object or of those in it, is kept and returned by Finish(); reading goes on after it.
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

class JsonBody {
 public:
  static constexpr int kMaxDepth = 16;

  // kInvalidArgument: not one object (says line and column), nested too deep, a name twice. An
  // empty text is an object without fields.
  static Result<JsonBody> Parse(std::string_view text);
  ~JsonBody();
  JsonBody(JsonBody&&) noexcept;

  void Text(const char* name, std::string& out);
  void Texts(const char* name, std::vector<std::string>& out);
  // One text instead of a list is a list of one.
  void TextOrTexts(const char* name, std::vector<std::string>& out);
  void TextMap(const char* name, std::map<std::string, std::string>& out);
  void Integer(const char* name, std::optional<uint64_t>& out);
  void Integers(const char* name, std::vector<uint64_t>& out);
  void Flag(const char* name, bool& out);
  // A text, or a number as its text.
  void Scalar(const char* name, std::string& out);
  // The object of that name, for its own fields and Finish(); nullopt where it is absent.
  std::optional<JsonBody> Object(const char* name);
  // Not null, empty, 0 or false: for fields that are known and not served.
  bool Says(const char* name);
  // Says that `name` is bad because of `why`.
  void Reject(const char* name, const std::string& why);
  // The first bad value, else the first field that nobody read, with the near name that somebody
  // did.
  Status Finish() const;

 private:
  struct State;
  explicit JsonBody(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hearth::manager
