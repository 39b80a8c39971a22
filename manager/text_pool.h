// SharedText: a text that many hold and nobody changes; TextPool: one copy of each, up to a limit.
// Plain state, no lock.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace hearth::manager {

class SharedText {
 public:
  SharedText() = default;  // ""
  SharedText(std::string text)
      : text_(text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text))) {}
  SharedText(const char* text) : SharedText(std::string(text)) {}

  const std::string& str() const;
  // Besides this one.
  bool IsHeldElsewhere() const { return text_.use_count() > 1; }

  friend bool operator==(const SharedText& a, const SharedText& b) {
    return a.text_ == b.text_ || a.str() == b.str();
  }
  friend std::ostream& operator<<(std::ostream& out, const SharedText& text) {
    return out << text.str();
  }

 private:
  std::shared_ptr<const std::string> text_;
};

class TextPool {
 public:
  explicit TextPool(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Equal to `text`, and one with all that were shared before; none: there is no room for it.
  std::optional<SharedText> Share(const SharedText& text);
  // Forgets what nobody holds any more, where there was no room lately.
  void Sweep();
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kEntryBytes = 128;  // beside the text, about

  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool was_full_ = false;
  std::unordered_map<std::string_view, SharedText> texts_;  // each key is its text's
};

}  // namespace hearth::manager
