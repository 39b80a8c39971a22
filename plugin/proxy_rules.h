// ProxyRules: which URLs go through the store, and under which name ([[proxy.rule]]).
//
// Immutable; any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "plugin/file_name.h"

namespace re2 {
class RE2;
}

namespace hearth::plugin {

struct ProxyRule {
  // RE2, found anywhere in the URL; it sees the URL without its query first, then with it.
  std::string match;
  bool use_tls = false;               // an http URL that matches is fetched by https
  std::string filtered_query_params;  // "a&b"; "" = the default filter
  std::string tag;
  std::string application;
};

// What a caller says about a file beside its URL; what is absent, the rule says.
struct FileLabels {
  std::optional<std::string> tag;
  std::optional<std::string> application;
  std::optional<std::vector<std::string>> filter;
  std::optional<uint64_t> piece_length;
};

class ProxyRules {
 public:
  static constexpr size_t kMaxRules = 256;
  // No rule, Dragonfly's whole list.
  ProxyRules();
  // `default_filter` "" = Dragonfly's whole list. kInvalidArgument: which rule and why.
  static Result<ProxyRules> Compile(const std::vector<ProxyRule>& rules,
                                    std::string_view default_filter);

  // The first rule that matches; null when none does. An https URL is also looked at as the http
  // one by which clients of a use_tls rule name it.
  const ProxyRule* Find(std::string_view url) const;
  // Whether a rule's pattern begins with a scheme and a host ("^https://files\.example\.com/…")
  // that is this one. `port` is compared where the pattern has one, else it must be a default port.
  bool NamesHost(std::string_view host, uint16_t port) const;
  // The URL that is really fetched.
  std::string Origin(std::string_view url) const;
  // How the file at `url` is known.
  FileName Name(std::string_view url, const FileLabels& labels) const;

 private:
  struct Compiled {
    ProxyRule rule;
    std::shared_ptr<const re2::RE2> pattern;
    std::shared_ptr<const re2::RE2> host;  // null = the pattern names none
  };
  static const Compiled* FindIn(const std::vector<Compiled>& rules, std::string_view url);

  std::vector<Compiled> rules_;
  std::vector<std::string> default_filter_;
};

}  // namespace hearth::plugin
