// JobRequest: the body of POST /oapi/v1/jobs, read and checked. Pure.
//
// Every field that a release of Dragonfly took is known here: it is honoured, or refused with the
// reason. What is secret in it goes to `secrets` and nowhere else.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "manager/job.h"
#include "net/http.h"

namespace hearth::manager {

struct JobRequest {
  static constexpr size_t kMaxItems = 256;
  static constexpr size_t kMaxUrlBytes = 8 << 10;
  static constexpr size_t kMaxReferenceBytes = 1 << 10;
  static constexpr size_t kMaxHeaders = 64;
  static constexpr size_t kMaxListed = 20'000;  // nodes and addresses
  static constexpr uint32_t kMaxRetries = 100;
  static constexpr uint32_t kMaxPriority = 10;
  static constexpr std::chrono::hours kMaxTimeout{24 * 7};
  static constexpr std::chrono::minutes kMinRefresh{1};
  static constexpr std::chrono::hours kDefaultRefresh{1};
  static constexpr std::chrono::hours kMaxRefresh{24 * 30};

  std::string bio;
  JobSpec spec;
  JobSecrets secrets;

  struct Context {
    // The other Authorization header of a request with two, "" = none: for the origin of files.
    std::string origin_authorization;
    // The name of that cluster. kNotFound.
    std::function<Result<std::string>(uint64_t id)> cluster_name;
    // Host patterns that preheats may name: "*", "*.example.com", "registry.example.com:5000".
    std::vector<std::string> allowed_hosts = {"*"};
  };
  // kInvalidArgument: which field and why (of text that is no JSON: line and column); kNotFound: a
  // cluster; kPermissionDenied: a host that may not be named.
  static Result<JobRequest> Parse(std::string_view body, const Context& context);
};

// "https://index.docker.io/v2/library/alpine/manifests/3.19", or an image reference.
// kInvalidArgument.
Result<JobItem> ParseImageUrl(const std::string& text);

}  // namespace hearth::manager
