#include "plugin/mirror_answer.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace hearth::plugin {
namespace {

constexpr std::string_view kPassedHeaders[] = {"Content-Type",
                                               "Docker-Content-Digest",
                                               "Docker-Distribution-Api-Version",
                                               "ETag",
                                               "OCI-Filters-Applied",
                                               "Warning",
                                               "WWW-Authenticate"};

int StatusForCaller(int status) {
  return status == 408 || status == 429 || status >= 500 ? 503 : status;
}

}  // namespace

net::ServerResponse ErrorAnswer(const Status& status) {
  net::ServerResponse answer;
  std::string_view code = "UNAVAILABLE";
  answer.status = 503;
  switch (status.code()) {
    case StatusCode::kNotFound:
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnimplemented:
      answer.status = 404;
      code = status.code() == StatusCode::kNotFound ? "NOT_FOUND" : "UNSUPPORTED";
      break;
    default:
      break;
  }
  const nlohmann::json body = {{"errors", {{{"code", code}, {"message", status.message()}}}}};
  answer.headers.Set("Content-Type", "application/json");
  answer.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return answer;
}

net::ServerResponse ForwardedAnswer(const net::HttpResponse& origin, bool head) {
  net::ServerResponse answer;
  answer.status = StatusForCaller(origin.status);
  for (const std::string_view name : kPassedHeaders) {
    for (const std::string_view value : origin.headers.GetAll(name)) {
      answer.headers.Add(std::string(name), std::string(value));
    }
  }
  answer.body = origin.body;
  if (head) answer.content_length = net::ContentLength(origin.headers);
  return answer;
}

}  // namespace hearth::plugin
