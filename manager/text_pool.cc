#include "manager/text_pool.h"

namespace hearth::manager {

const std::string& SharedText::str() const {
  static const std::string kNone;
  return text_ == nullptr ? kNone : *text_;
}

std::optional<SharedText> TextPool::Share(const SharedText& text) {
  if (text.str().empty()) return text;
  if (const auto known = texts_.find(text.str()); known != texts_.end()) return known->second;
  const size_t bytes = text.str().size() + kEntryBytes;
  if (bytes > max_bytes_ - bytes_) {
    was_full_ = true;
    return std::nullopt;
  }
  bytes_ += bytes;
  texts_.emplace(text.str(), text);
  return text;
}

void TextPool::Sweep() {
  if (!std::exchange(was_full_, false)) return;
  std::erase_if(texts_, [&](const auto& entry) {
    if (entry.second.IsHeldElsewhere()) return false;
    bytes_ -= entry.second.str().size() + kEntryBytes;
    return true;
  });
}

}  // namespace hearth::manager
