// ApiClient: commands' side of the manager's REST API.
//
// One thread at a time. Errors carry the manager's own code and message.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "cmd/manager_commands.h"
#include "net/http_client.h"

namespace hearth::cmd {

class ApiClient {
 public:
  static constexpr uint64_t kMaxAnswerBytes = 64 << 20;

  // From --manager or HEARTH_MANAGER ("https://host:7780"; "host:7780" means https), HEARTH_TOKEN
  // and HEARTH_CA_FILE. kInvalidArgument: one is missing or cannot be read. The token never comes
  // from the command line, which every user of the machine can read.
  static Result<std::unique_ptr<ApiClient>> FromEnvironment(const ManagerArgs& args);

  // The answer's body, "" where it has none.
  Result<std::string> Call(const std::string& method, const std::string& target,
                           const std::string& body, std::stop_token stop) const;
  // GET of a document that can wait: answered when it is not what `tag` names any more ("" = at
  // once), or with "" where it is still that after kLongestWait. `tag` then names what is there.
  Result<std::string> Next(const std::string& target, std::string& tag, std::stop_token stop) const;

 private:
  static constexpr std::chrono::seconds kLongestWait{5};  // below a silent manager's timeout

  Result<net::HttpResponse> Send(net::HttpRequest request, std::stop_token stop) const;
  ApiClient(std::string base, Secret<std::string> token, std::string ca_file,
            std::unique_ptr<net::HttpClient> client)
      : base_(std::move(base)),
        token_(std::move(token)),
        ca_file_(std::move(ca_file)),
        client_(std::move(client)) {}

  const std::string base_;
  const Secret<std::string> token_;
  const std::string ca_file_;
  const std::unique_ptr<net::HttpClient> client_;
};

}  // namespace hearth::cmd
