#include "oci/challenge.h"

#include <optional>

#include "base/ascii.h"

namespace hearth::oci {

namespace {

constexpr size_t kMaxHeaderBytes = 16 * 1024;
constexpr size_t kMaxChallenges = 16;
constexpr size_t kMaxParameters = 32;

bool IsTokenChar(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// Reads `challenge = scheme [ 1*SP ( token68 / #( token "=" ( token / quoted ) ) ) ]`, lists of it.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  void ReadInto(std::vector<Challenge>& challenges) {
    while (true) {
      SkipSpacesAndCommas();
      const std::string_view word = Token();
      if (word.empty()) return;
      SkipSpaces();
      if (Take('=')) {
        // A parameter; of a challenge that was left out where there is none yet.
        std::optional<std::string> value = Value();
        if (!value) return;
        if (challenges.empty()) continue;
        auto& parameters = challenges.back().parameters;
        if (parameters.size() < kMaxParameters)
          parameters.emplace(AsciiLower(word), *std::move(value));
        continue;
      }
      if (challenges.size() == kMaxChallenges) return;
      challenges.push_back({AsciiLower(word), {}});
    }
  }

 private:
  void SkipSpaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  void SkipSpacesAndCommas() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == ',')) {
      ++at_;
    }
  }
  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view Token() {
    const size_t start = at_;
    while (at_ < text_.size() && IsTokenChar(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  // nullopt for an unfinished quoted text.
  std::optional<std::string> Value() {
    SkipSpaces();
    if (!Take('"')) {
      // Some registries leave the quotes off around URLs, which are no tokens.
      const size_t start = at_;
      while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ' ') ++at_;
      return std::string(text_.substr(start, at_ - start));
    }
    std::string value;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return value;
      if (c == '\\' && at_ < text_.size()) {
        value += text_[at_++];
      } else {
        value += c;
      }
    }
    return std::nullopt;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string Challenge::Get(const std::string& name) const {
  const auto found = parameters.find(name);
  return found == parameters.end() ? "" : found->second;
}

std::vector<Challenge> ParseChallenges(const std::vector<std::string_view>& header_values) {
  std::vector<Challenge> challenges;
  for (const std::string_view value : header_values) {
    Scanner(value.substr(0, kMaxHeaderBytes)).ReadInto(challenges);
  }
  return challenges;
}

}  // namespace hearth::oci
