#include "plugin/proxy_rules.h"

#include <re2/re2.h>

#include "oci/task_url.h"

namespace hearth::plugin {
namespace {

constexpr int64_t kMaxPatternMemoryBytes = 1 << 20;
constexpr std::string_view kHttp = "http://";
constexpr std::string_view kHttps = "https://";

std::shared_ptr<const re2::RE2> Regex(const std::string& pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxPatternMemoryBytes);
  return std::make_shared<const re2::RE2>(pattern, options);
}

// "^https?://a\.example\.com(:8443)?/.*" → "a\.example\.com(:8443)?"; "" where the pattern does not
// begin with a scheme and a whole host.
std::string HostPattern(std::string_view pattern) {
  if (pattern.starts_with('^')) pattern.remove_prefix(1);
  size_t scheme = 0;
  for (const std::string_view begin : {"https?://", "https://", "http://"}) {
    if (pattern.starts_with(begin)) {
      scheme = begin.size();
      break;
    }
  }
  if (scheme == 0) return "";
  pattern.remove_prefix(scheme);
  bool in_class = false;
  int depth = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
    } else if (c == '(' || c == ')') {
      depth += c == '(' ? 1 : -1;
    } else if (c == '/' && depth == 0) {
      return std::string(pattern.substr(0, i));
    }
  }
  return "";
}

std::string_view WithoutQuery(std::string_view url) {
  return url.substr(0, url.find_first_of("?#"));
}

bool Matches(const re2::RE2& pattern, std::string_view url) {
  const auto piece = [](std::string_view text) {
    return re2::StringPiece(text.data(), text.size());
  };
  return re2::RE2::PartialMatch(piece(WithoutQuery(url)), pattern) ||
         re2::RE2::PartialMatch(piece(url), pattern);
}

}  // namespace

ProxyRules::ProxyRules() : default_filter_(oci::DefaultFilteredQueryParams()) {}

Result<ProxyRules> ProxyRules::Compile(const std::vector<ProxyRule>& rules,
                                       std::string_view default_filter) {
  ProxyRules compiled;
  if (!default_filter.empty()) {
    compiled.default_filter_ = oci::ParseFilteredQueryParams(default_filter);
  }
  if (rules.size() > kMaxRules) {
    return InvalidArgument("proxy.rule: " + std::to_string(rules.size()) + " rules, at most " +
                           std::to_string(kMaxRules));
  }
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string which = "proxy.rule " + std::to_string(i + 1) + ": match";
    if (rules[i].match.empty()) return InvalidArgument(which + ": a rule needs one");
    Compiled rule{.rule = rules[i], .pattern = Regex(rules[i].match), .host = nullptr};
    if (!rule.pattern->ok()) {
      return InvalidArgument(which + ": no regular expression: " + rule.pattern->error());
    }
    if (const std::string host = HostPattern(rules[i].match); !host.empty()) {
      rule.host = Regex("(?i)(?:" + host + ")");
      if (!rule.host->ok()) rule.host = nullptr;
    }
    compiled.rules_.push_back(std::move(rule));
  }
  return compiled;
}

const ProxyRules::Compiled* ProxyRules::FindIn(const std::vector<Compiled>& rules,
                                               std::string_view url) {
  std::string plain;
  if (url.starts_with(kHttps)) {
    plain = std::string(kHttp) + std::string(url.substr(kHttps.size()));
  }
  for (const Compiled& rule : rules) {
    if (Matches(*rule.pattern, url)) return &rule;
    if (rule.rule.use_tls && !plain.empty() && Matches(*rule.pattern, plain)) return &rule;
  }
  return nullptr;
}

const ProxyRule* ProxyRules::Find(std::string_view url) const {
  const Compiled* found = FindIn(rules_, url);
  return found == nullptr ? nullptr : &found->rule;
}

bool ProxyRules::NamesHost(std::string_view host, uint16_t port) const {
  const std::string bare(host);
  const std::string whole = bare + ":" + std::to_string(port);
  const bool default_port = port == 443 || port == 80;
  for (const Compiled& rule : rules_) {
    if (rule.host == nullptr) continue;
    if (re2::RE2::FullMatch(whole, *rule.host)) return true;
    if (default_port && re2::RE2::FullMatch(bare, *rule.host)) return true;
  }
  return false;
}

std::string ProxyRules::Origin(std::string_view url) const {
  const ProxyRule* rule = Find(url);
  if (rule == nullptr || !rule->use_tls || !url.starts_with(kHttp)) return std::string(url);
  std::string origin = std::string(kHttps) + std::string(url.substr(kHttp.size()));
  // http's own port says nothing about where https is served.
  const size_t end = std::min(origin.find_first_of("/?#", kHttps.size()), origin.size());
  if (origin.substr(0, end).ends_with(":80")) origin.erase(end - 3, 3);
  return origin;
}

FileName ProxyRules::Name(std::string_view url, const FileLabels& labels) const {
  const ProxyRule* rule = Find(url);
  FileName name;
  name.url = Origin(url);
  name.tag = labels.tag.value_or(rule == nullptr ? "" : rule->tag);
  name.application = labels.application.value_or(rule == nullptr ? "" : rule->application);
  name.piece_length = labels.piece_length;
  name.filter = default_filter_;
  if (rule != nullptr && !rule->filtered_query_params.empty()) {
    name.filter = oci::ParseFilteredQueryParams(rule->filtered_query_params);
  }
  if (labels.filter) name.filter = *labels.filter;
  return name;
}

}  // namespace hearth::plugin
