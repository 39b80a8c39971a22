// PassThrough: one request handed to its origin and the answer handed back as it comes, unstored.
//
// Holds no thread, and no more than one buffer of the client: an answer that its reader does not
// take pauses the transfer.
#pragma once

#include <chrono>
#include <string>

#include "net/http_client.h"
#include "net/http_server.h"

namespace hearth::plugin {

struct PassThrough {
  net::HttpClient& client;  // must outlive the answer
  std::string via;          // our name in Via
  std::chrono::milliseconds stall_timeout{60'000};

  // Sends `request` (method, headers and body) to `url`; `respond` gets the origin's answer, or
  // 502, 504 or 403 with the reason. Any thread; returns at once.
  void Run(const net::ServerRequest& request, const std::string& url,
           net::HttpServer::Respond respond) const;
};

// For what failed on the way to the origin: 403 an address that is refused, 504 too slow, 502 else.
net::ServerResponse GatewayAnswer(const Status& status);

}  // namespace hearth::plugin
