// Router: the REST API's routes. A route cannot be registered without the scope that it needs, and
// no handler runs before a token with that scope was shown.
//
// Add() before the server starts; Answer() from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "manager/audit.h"
#include "manager/throttle.h"
#include "manager/tokens.h"
#include "net/http_server.h"

namespace hearth::manager {

struct ApiCall {
  const net::ServerRequest& request;
  std::map<std::string, std::string> parameters;  // of the path, decoded
  AccessToken token;                              // of who asks; empty on public routes
};

struct ApiAnswer {
  int status = 200;
  std::string body;  // JSON
  std::string content_type = "application/json";
  net::HttpHeaders headers = {};                      // beside those of every answer
  std::shared_ptr<net::BodySource> stream = nullptr;  // in place of `body`
};

// Whether an Authorization header is a token of this API: "Bearer hpat_…".
bool IsApiAuthorization(std::string_view value);

class Router {
 public:
  using Handler = std::function<Result<ApiAnswer>(const ApiCall&)>;
  // Calls `respond` once, from any thread; the call itself is over when it returns.
  using Respond = std::function<void(Result<ApiAnswer>)>;
  using LaterHandler = std::function<void(const ApiCall&, Respond)>;
  // All of them must outlive it.
  Router(Tokens& tokens, Audit& audit, const Clock& clock)
      : tokens_(tokens), audit_(audit), throttle_(clock) {}

  // `pattern` is "/api/v1/nodes/{name}".
  void Add(const std::string& method, const std::string& pattern, Scope scope, Handler handler);
  void Add(const std::string& method, const std::string& pattern, Scope scope,
           LaterHandler handler);

  void Answer(const net::ServerRequest& request, net::HttpServer::Respond respond) const;
  // The pattern that a request matches, for metrics; "other" where there is none.
  std::string RouteOf(const net::ServerRequest& request) const;

  struct Route {
    std::string method;
    std::string pattern;
    Scope scope;
  };
  std::vector<Route> Routes() const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> parts;
    LaterHandler handler;
  };
  const Entry* Find(const net::ServerRequest& request,
                    std::map<std::string, std::string>& parameters, std::string& allowed) const;
  net::ServerResponse Refuse(const net::ServerRequest& request, const Status& why) const;
  Result<AccessToken> Authorise(const net::ServerRequest& request, Scope needed) const;

  Tokens& tokens_;
  Audit& audit_;
  mutable Throttle throttle_;  // of refused tokens; joins have another
  std::vector<Entry> entries_;
};

// RFC 9457, and `message` with the same text for clients of Dragonfly's API.
net::ServerResponse Problem(const Status& status);

}  // namespace hearth::manager
