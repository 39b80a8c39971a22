#include "cmd/api_client.h"

#include <cstdlib>

#include "cmd/admin_client.h"

namespace hearth::cmd {

namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Result<std::unique_ptr<ApiClient>> ApiClient::FromEnvironment(const ManagerArgs& args) {
  std::string base = args.manager.empty() ? Variable("HEARTH_MANAGER") : args.manager;
  if (base.empty()) {
    return InvalidArgument("no manager is named (--manager HOST:7780, or HEARTH_MANAGER)");
  }
  if (base.find("://") == std::string::npos) base = "https://" + base;
  while (base.ends_with('/')) base.pop_back();
  if (!base.starts_with("https://") && !base.starts_with("http://")) {
    return InvalidArgument("the manager's address must begin with https://");
  }
  const std::string token = Variable("HEARTH_TOKEN");
  if (token.empty()) {
    return InvalidArgument(
        "no token: set HEARTH_TOKEN (the first one is in the manager's file admin-token)");
  }
  net::HttpClient::Options options;
  options.max_connections = 2;
  auto client = TRY(net::HttpClient::Create(std::move(options)));
  return std::unique_ptr<ApiClient>(
      new ApiClient(std::move(base), Secret(token), Variable("HEARTH_CA_FILE"), std::move(client)));
}

Result<std::string> ApiClient::Call(const std::string& method, const std::string& target,
                                    const std::string& body, std::stop_token stop) const {
  net::HttpRequest request;
  request.method = method;
  request.url = base_ + target;
  if (!body.empty()) request.headers.Set("Content-Type", "application/json");
  request.body = body;
  return TRY(Send(std::move(request), std::move(stop))).body;
}

Result<std::string> ApiClient::Next(const std::string& target, std::string& tag,
                                    std::stop_token stop) const {
  net::HttpRequest request;
  request.url = base_ + target;
  if (!tag.empty()) {
    request.url += (target.find('?') == std::string::npos ? "?wait=" : "&wait=") +
                   std::to_string(kLongestWait.count()) + "s";
    request.headers.Set("If-None-Match", tag);
  }
  net::HttpResponse answer = TRY(Send(std::move(request), std::move(stop)));
  tag = answer.headers.Get("ETag");
  return std::move(answer.body);
}

Result<net::HttpResponse> ApiClient::Send(net::HttpRequest request, std::stop_token stop) const {
  request.headers.Set("Authorization", "Bearer " + token_.Reveal());
  request.ca_file = ca_file_;
  auto answer = client_->Fetch(std::move(request), kMaxAnswerBytes, std::move(stop));
  if (!answer.ok()) {
    const Status& why = answer.status();
    const std::string advice =
        std::string(" (does it run there, as --manager or HEARTH_MANAGER says?") +
        (ca_file_.empty() ? " is its CA to be named with HEARTH_CA_FILE?)" : ")");
    return Status(why.code(), "manager " + base_ + ": " + why.message() + advice);
  }
  constexpr int kNotModified = 304;
  if (answer->status >= 300 && answer->status != kNotModified) {
    return ErrorFromAnswer(answer->status, answer->body);
  }
  return answer;
}

}  // namespace hearth::cmd
