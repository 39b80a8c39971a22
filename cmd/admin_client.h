// AdminClient: commands' side of the node's admin socket (HTTP/1.1 over a unix socket, JSON).
//
// One thread at a time. Errors carry the node's own code and message; kUnavailable says which
// socket did not answer, why, and what to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"
#include "net/http_client.h"

namespace hearth::cmd {

class AdminClient {
 public:
  static constexpr uint64_t kMaxAnswerBytes = 64 * 1024 * 1024;  // of a whole JSON document
  static constexpr size_t kMaxLineBytes = 4 * 1024 * 1024;       // of one line of a stream
  static constexpr size_t kMaxQueuedBytes = 8 * 1024 * 1024;     // lines not taken yet

  // `stall`: a node that says nothing for so long is as good as none. Hashing a whole store may
  // take hours between two lines.
  static Result<std::unique_ptr<AdminClient>> Create(
      std::filesystem::path socket, std::chrono::milliseconds stall = std::chrono::hours(12));

  // The answer's body; OK for 2xx only. `target` is "/v1/…" with its query.
  Result<std::string> Call(const std::string& method, const std::string& target,
                           std::stop_token stop = {});
  // POSTs `body` and hands over each line of the answer (without newline) on the calling thread. An
  // error of `line` ends the call and is returned. Ending it closes the connection, which cancels
  // the work at the node.
  Status Stream(const std::string& target, const std::string& body,
                const std::function<Status(std::string_view line)>& line,
                std::stop_token stop = {});
  // Bytes of a GET from `offset_bytes` on, handed over on the client's own thread.
  Status Download(const std::string& target, uint64_t offset_bytes,
                  const std::function<Status(std::string_view data)>& data,
                  std::stop_token stop = {});

 private:
  AdminClient(std::filesystem::path socket, std::chrono::milliseconds stall,
              std::unique_ptr<net::HttpClient> client);
  net::HttpRequest Request(const std::string& method, const std::string& target) const;
  // What to say when nobody answers.
  Status Explain(const Status& status) const;
  Status Run(net::HttpRequest request, const std::function<Status(std::string_view)>& data,
             bool on_loop, std::stop_token stop);

  const std::filesystem::path socket_;
  const std::chrono::milliseconds stall_;
  std::unique_ptr<net::HttpClient> client_;
};

// The Status in a node's JSON error answer {"code","message"}; by HTTP status where it is none.
Status ErrorFromAnswer(int http_status, std::string_view body);

}  // namespace hearth::cmd
