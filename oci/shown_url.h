// URLs as messages, records and answers show them: without what is secret in them. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth::oci {

// "https://user:password@host/f" → "https://host/f"
std::string WithoutUserInfo(std::string url);
// URL without userinfo, and with the values of parameters that sign as ***: those of the default
// list, the usual ones beside it, and `more`, all in any case; for messages.
std::string WithoutSecrets(std::string_view url, const std::vector<std::string>& more = {});
// Scheme is http or https, in any case.
bool IsFileUrl(std::string_view url);

}  // namespace hearth::oci
