#include "oci/token.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hearth::oci {

namespace {

bool IsToken(const std::string& token) {
  return !token.empty() && token.size() <= Token::kMaxBytes &&
         std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

Result<Token> Token::Parse(std::string_view body) {
  const auto document = nlohmann::json::parse(body, nullptr, false);
  if (document.is_discarded() || !document.is_object()) {
    return Unavailable("the answer is no JSON object");
  }
  Token token;
  for (const char* name : {"token", "access_token"}) {
    const auto field = document.find(name);
    if (field != document.end() && field->is_string() && token.text.empty()) {
      token.text = field->get<std::string>();
    }
  }
  if (!IsToken(token.text)) return Unavailable("the answer has no usable token");
  const auto expires = document.find("expires_in");
  if (expires != document.end() && expires->is_number()) {
    const auto given = expires->get<double>();
    if (given >= 1) {
      token.lifetime = given >= static_cast<double>(kMaxLifetime.count())
                           ? kMaxLifetime
                           : std::chrono::seconds(static_cast<int64_t>(given));
    }
  }
  return token;
}

}  // namespace hearth::oci
