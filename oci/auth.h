// Authorizer: turns a registry's 401 into an Authorization header, and remembers it.
//
// Bearer tokens are fetched from the realm that the challenge names (GET with basic credentials, or
// POST with a refresh token) and kept per registry, scope and credential until shortly before they
// expire. Any thread; calls block on the network.
#pragma once

#include <cstddef>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"
#include "net/http_client.h"
#include "oci/challenge.h"
#include "oci/credentials.h"

namespace hearth::oci {

// What is to be authorised.
struct AuthTarget {
  std::string host;   // API host, as in messages
  std::string scope;  // "repository:library/nginx:pull"
  Credential credential;
  std::string ca_file;      // for a realm on the registry's own host
  bool plain_http = false;  // the registry is reached without TLS: the realm may be too
};

class Authorizer {
 public:
  struct Options {
    size_t max_tokens = 1024;  // the one that expires first goes
    std::chrono::milliseconds stall_timeout{10'000};
    std::chrono::milliseconds document_timeout = net::kDocumentTimeout;
    uint64_t max_answer_bytes = 1024 * 1024;
  };
  // `client` and `clock` must outlive this.
  Authorizer(net::HttpClient& client, const Clock& clock, Options options);

  // The header that a former answer gave for `target`; empty when there is none (any more).
  Secret<std::string> Cached(const AuthTarget& target);
  // Answers `challenges`, the WWW-Authenticate of a 401, with an Authorization header and keeps it.
  // kUnauthenticated: there is no way with this credential; the message says which schemes were
  // offered and what to configure.
  Result<Secret<std::string>> Answer(const AuthTarget& target,
                                     const std::vector<Challenge>& challenges,
                                     std::stop_token stop);
  // Forgets what Answer() kept, after the registry refused it.
  void Forget(const AuthTarget& target);

 private:
  struct Entry {
    Secret<std::string> header;
    SteadyTime expires;
  };
  Result<Entry> FetchToken(const AuthTarget& target, const Challenge& challenge,
                           std::stop_token stop);
  void Keep(const AuthTarget& target, const Entry& entry);

  net::HttpClient& client_;
  const Clock& clock_;
  const Options options_;
  Mutex mutex_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace hearth::oci
