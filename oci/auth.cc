#include "oci/auth.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/digest.h"
#include "net/http.h"
#include "oci/token.h"

namespace hearth::oci {

namespace {

using std::chrono::seconds;

constexpr int kTokenRedirects = 5;

Secret<std::string> BasicHeader(const Credential& credential) {
  return Secret<std::string>(
      "Basic " + EncodeBase64(credential.username + ":" + credential.password.Reveal()));
}

std::string KeyOf(const AuthTarget& target) {
  Sha256 hash;
  for (const std::string* part : {&target.credential.username, &target.credential.password.Reveal(),
                                  &target.credential.identity_token.Reveal()}) {
    hash.Update(std::to_string(part->size()) + ":");
    hash.Update(*part);
  }
  // What was made for TLS is not sent without it.
  return target.host + (target.plain_http ? " plain " : " tls ") + target.scope + " " +
         hash.Current().hex();
}

// "https://auth.example.com:443/token" → "auth.example.com"
std::string_view HostNameOf(std::string_view url) {
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    url.remove_prefix(scheme + 3);
  }
  url = url.substr(0, url.find_first_of("/?#"));
  if (url.starts_with('[')) return url.substr(0, url.find(']') + 1);
  return url.substr(0, url.find(':'));
}

Status Refused(const AuthTarget& target, const std::string& why) {
  return Unauthenticated("registry " + target.host + ": " + why +
                         " (set docker_config of [registry.\"" + target.host +
                         "\"] to a file with a credential that may pull)");
}

// The realm comes from the registry's answer; a credential must not leave in the clear because of
// it.
Status CheckRealm(const AuthTarget& target, const std::string& realm) {
  const bool plain = realm.starts_with("http://");
  if (!plain && !realm.starts_with("https://")) {
    return Refused(target, "its challenge names the realm \"" + realm.substr(0, 200) +
                               "\", which is no http or https URL");
  }
  if (plain && !target.plain_http) {
    return Refused(target, "its challenge sends us to " + realm.substr(0, 200) +
                               " without TLS, which a registry with TLS may not");
  }
  return OkStatus();
}

std::string TokenQuery(const AuthTarget& target, const Challenge& challenge) {
  std::string query;
  const auto add = [&query](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    if (!query.empty()) query += '&';
    query += std::string(name) + "=" + net::PercentEncode(value);
  };
  add("service", challenge.Get("service"));
  const std::string scope = challenge.Get("scope");
  add("scope", scope.empty() ? target.scope : scope);
  if (!target.credential.identity_token.Reveal().empty()) {
    add("grant_type", "refresh_token");
    add("client_id", "hearth");
    add("refresh_token", target.credential.identity_token.Reveal());
  } else {
    add("account", target.credential.username);
  }
  return query;
}

net::HttpRequest TokenRequest(const AuthTarget& target, const Challenge& challenge) {
  net::HttpRequest request;
  request.url = challenge.Get("realm");
  const std::string query = TokenQuery(target, challenge);
  if (!target.credential.identity_token.Reveal().empty()) {
    request.method = "POST";
    request.body = query;
    request.headers.Set("Content-Type", "application/x-www-form-urlencoded");
  } else {
    request.max_redirects = kTokenRedirects;
    if (!query.empty()) {
      request.url += (request.url.find('?') == std::string::npos ? '?' : '&') + query;
    }
    if (!target.credential.username.empty()) {
      request.headers.Set("Authorization", BasicHeader(target.credential).Reveal());
    }
  }
  request.headers.Set("Accept", "application/json");
  request.decode = true;
  if (HostNameOf(challenge.Get("realm")) == HostNameOf(target.host)) {
    request.ca_file = target.ca_file;
  }
  return request;
}

}  // namespace

Authorizer::Authorizer(net::HttpClient& client, const Clock& clock, Options options)
    : client_(client), clock_(clock), options_(options) {}

Secret<std::string> Authorizer::Cached(const AuthTarget& target) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(KeyOf(target));
  if (found == entries_.end()) return {};
  if (found->second.expires > clock_.SteadyNow()) return found->second.header;
  entries_.erase(found);
  return {};
}

void Authorizer::Forget(const AuthTarget& target) {
  MutexLock lock(mutex_);
  entries_.erase(KeyOf(target));
}

void Authorizer::Keep(const AuthTarget& target, const Entry& entry) {
  MutexLock lock(mutex_);
  entries_[KeyOf(target)] = entry;
  if (entries_.size() <= options_.max_tokens) return;
  entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](auto& a, auto& b) {
    return a.second.expires < b.second.expires;
  }));
}

Result<Secret<std::string>> Authorizer::Answer(const AuthTarget& target,
                                               const std::vector<Challenge>& challenges,
                                               std::stop_token stop) {
  const auto offered = [&challenges](std::string_view scheme) {
    return std::find_if(challenges.begin(), challenges.end(),
                        [&](const Challenge& c) { return c.scheme == scheme; });
  };
  if (const auto bearer = offered("bearer"); bearer != challenges.end()) {
    const Entry entry = TRY(FetchToken(target, *bearer, std::move(stop)));
    Keep(target, entry);
    return entry.header;
  }
  if (offered("basic") == challenges.end()) {
    std::string schemes;
    for (const Challenge& c : challenges) schemes += (schemes.empty() ? "" : ", ") + c.scheme;
    return Refused(target, "HTTP 401 offers no scheme that Hearth speaks (Bearer, Basic), but " +
                               (schemes.empty() ? "none" : schemes));
  }
  if (target.credential.username.empty()) {
    return Refused(target, "it asks for a user name and password, and there is none");
  }
  const Entry entry{BasicHeader(target.credential), SteadyTime::max()};
  Keep(target, entry);
  return entry.header;
}

Result<Authorizer::Entry> Authorizer::FetchToken(const AuthTarget& target,
                                                 const Challenge& challenge, std::stop_token stop) {
  const std::string realm = challenge.Get("realm");
  TRY_STATUS(CheckRealm(target, realm));
  net::HttpRequest request = TokenRequest(target, challenge);
  request.stall_timeout = options_.stall_timeout;
  request.connect_timeout = options_.stall_timeout;
  request.total_timeout = options_.document_timeout;
  const std::string what =
      "registry " + target.host + ": token service " + realm.substr(0, realm.find('?'));
  const net::HttpResponse answer = TRY(
      client_.Fetch(std::move(request), options_.max_answer_bytes, std::move(stop)).Annotate(what));
  if (answer.status == 401 || answer.status == 403 ||
      (answer.status == 400 && !target.credential.empty())) {
    const std::string who =
        target.credential.empty() ? "an anonymous pull" : "the configured credential";
    return Refused(target, "token service " + realm.substr(0, realm.find('?')) + " refused " + who +
                               " with HTTP " + std::to_string(answer.status));
  }
  if (answer.status != 200) {
    return net::HttpStatusError(answer.status, what + ": HTTP " + std::to_string(answer.status));
  }
  const Token token = TRY(Token::Parse(answer.body).Annotate(what));
  // Renewed a little early, so that a token does not expire under way.
  const seconds margin = std::min(seconds(30), token.lifetime / 10);
  return Entry{Secret<std::string>("Bearer " + token.text),
               clock_.SteadyNow() + token.lifetime - margin};
}

}  // namespace hearth::oci
