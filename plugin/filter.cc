#include "plugin/filter.h"

#include <re2/re2.h>

#include <cctype>
#include <string_view>
#include <utility>

namespace hearth::plugin {

namespace {

bool IsField(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool IsBareValue(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f && c != ',';
}

void AppendUtf8(uint32_t rune, std::string& out) {
  if (rune < 0x80) {
    out += static_cast<char>(rune);
  } else if (rune < 0x800) {
    out += static_cast<char>(0xc0 | rune >> 6);
    out += static_cast<char>(0x80 | (rune & 0x3f));
  } else if (rune < 0x10000) {
    out += static_cast<char>(0xe0 | rune >> 12);
    out += static_cast<char>(0x80 | (rune >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (rune & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | rune >> 18);
    out += static_cast<char>(0x80 | (rune >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (rune >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (rune & 0x3f));
  }
}

// Reads one expression from left to right.
class Parser {
 public:
  explicit Parser(std::string_view input) : input_(input) {}

  Result<std::vector<Filter::Selector>> Selectors() {
    std::vector<Filter::Selector> selectors;
    do {
      selectors.push_back(TRY(Selector()));
    } while (Take(','));
    if (position_ != input_.size()) return Wrong("a comma or the end");
    return selectors;
  }

 private:
  Result<Filter::Selector> Selector() {
    Filter::Selector selector;
    do {
      selector.path.push_back(TRY(Field()));
    } while (Take('.'));
    if (position_ == input_.size() || input_[position_] == ',') return selector;
    selector.op = TRY(Operator());
    selector.value = TRY(Value(selector.op));
    if (selector.op == Filter::Operator::kMatches) {
      auto regex = std::make_shared<re2::RE2>(selector.value, re2::RE2::Quiet);
      if (!regex->ok()) return Wrong("a regular expression (" + regex->error() + ")");
      selector.regex = std::move(regex);
    }
    return selector;
  }

  Result<std::string> Field() {
    SkipSpace();
    if (Peek() == '"') return Quoted();
    const size_t begin = position_;
    while (position_ < input_.size() && IsField(input_[position_])) ++position_;
    if (begin == position_) return Wrong("a field name");
    return std::string(input_.substr(begin, position_ - begin));
  }

  Result<Filter::Operator> Operator() {
    SkipSpace();
    const size_t begin = position_;
    while (Peek() == '=' || Peek() == '!' || Peek() == '~') ++position_;
    const std::string_view text = input_.substr(begin, position_ - begin);
    if (text == "==") return Filter::Operator::kEqual;
    if (text == "!=") return Filter::Operator::kNotEqual;
    if (text == "~=") return Filter::Operator::kMatches;
    position_ = begin;
    return Wrong("==, != or ~=");
  }

  Result<std::string> Value(Filter::Operator op) {
    SkipSpace();
    const char first = Peek();
    if (first == '"') return Quoted();
    if (first == '/' || first == '|') {
      if (op == Filter::Operator::kMatches) return Quoted();
      return Wrong("a value (only ~= takes / and | as quotes)");
    }
    const size_t begin = position_;
    if (first == '.' || !IsBareValue(first)) return Wrong("a value");
    while (position_ < input_.size() && IsBareValue(input_[position_])) ++position_;
    return std::string(input_.substr(begin, position_ - begin));
  }

  Result<std::string> Quoted() {
    const char quote = input_[position_++];
    std::string out;
    while (true) {
      const char c = Peek();
      if (position_ == input_.size() || c == '\n') return Wrong("the closing quote");
      ++position_;
      if (c == quote) return out;
      if (c == '\\') {
        TRY_STATUS(Escape(quote, out));
      } else {
        out += c;
      }
    }
  }

  // What follows a backslash, as Go's string literals have it.
  Status Escape(char quote, std::string& out) {
    static constexpr std::string_view kNames = "abfnrtv\\";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\";
    const char c = Peek();
    if (c == quote) {
      ++position_;
      out += quote;
      return OkStatus();
    }
    if (const size_t at = kNames.find(c); c != '\0' && at != std::string_view::npos) {
      ++position_;
      out += kValues[at];
      return OkStatus();
    }
    if (c >= '0' && c <= '7') {
      const uint32_t value = TRY(Number(8, 3));
      if (value > 0xff) return Wrong("an octal escape up to \\377");
      out += static_cast<char>(value);
      return OkStatus();
    }
    if (c != 'x' && c != 'u' && c != 'U') return Wrong("an escape that Go knows");
    ++position_;
    const uint32_t value = TRY(Number(16, c == 'x' ? 2 : c == 'u' ? 4 : 8));
    if (c == 'x') {
      out += static_cast<char>(value);
      return OkStatus();
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return Wrong("a character");
    AppendUtf8(value, out);
    return OkStatus();
  }

  Result<uint32_t> Number(uint32_t base, int digits) {
    uint32_t value = 0;
    for (; digits > 0; --digits, ++position_) {
      const char c = Peek();
      const uint32_t digit = c >= '0' && c <= '9'   ? static_cast<uint32_t>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<uint32_t>(c - 'a' + 10)
                             : c >= 'A' && c <= 'F' ? static_cast<uint32_t>(c - 'A' + 10)
                                                    : 16;
      if (digit >= base) return Wrong("a digit of the escape");
      value = value * base + digit;
    }
    return value;
  }

  char Peek() const { return position_ < input_.size() ? input_[position_] : '\0'; }
  bool Take(char c) {
    if (Peek() != c || position_ == input_.size()) return false;
    ++position_;
    return true;
  }
  void SkipSpace() {
    while (position_ < input_.size() && IsSpace(input_[position_])) ++position_;
  }
  Status Wrong(std::string_view wanted) const {
    return InvalidArgument("filter \"" + std::string(input_) + "\": at byte " +
                           std::to_string(position_) + " I want " + std::string(wanted));
  }

  const std::string_view input_;
  size_t position_ = 0;
};

bool Holds(const Filter::Selector& selector, const Filter::Fields& fields) {
  const std::optional<std::string> value = fields(selector.path);
  switch (selector.op) {
    case Filter::Operator::kPresent:
      return value.has_value();
    case Filter::Operator::kEqual:
      return value == selector.value;
    case Filter::Operator::kNotEqual:
      return value.value_or("") != selector.value;
    case Filter::Operator::kMatches:
      return re2::RE2::PartialMatch(value.value_or(""), *selector.regex);
  }
  return false;
}

}  // namespace

Result<Filter> Filter::Parse(const std::vector<std::string>& expressions) {
  Filter filter;
  bool everything = false;
  for (const std::string& expression : expressions) {
    if (expression.empty()) {
      everything = true;
    } else {
      filter.alternatives_.push_back(TRY(Parser(expression).Selectors()));
    }
  }
  if (everything) filter.alternatives_.clear();
  return filter;
}

bool Filter::Matches(const Fields& fields) const {
  if (alternatives_.empty()) return true;
  for (const auto& selectors : alternatives_) {
    bool all = true;
    for (const Selector& selector : selectors) all = all && Holds(selector, fields);
    if (all) return true;
  }
  return false;
}

}  // namespace hearth::plugin
