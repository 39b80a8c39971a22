// URLs as messages, records and answers show them: without what is secret in them. Pure.
#pragma once

#include <string>
#include <string_view>

namespace hearth::oci {

// "https://user:password@host/f" → "https://host/f"
std::string WithoutUserInfo(std::string url);
// URL without userinfo, and with the values of the default list's parameters as ***; for messages.
std::string WithoutSecrets(std::string_view url);
// Scheme is http or https, in any case.
bool IsFileUrl(std::string_view url);

}  // namespace hearth::oci
