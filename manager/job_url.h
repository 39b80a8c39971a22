// URLs and headers of jobs: what can be told from their text. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "manager/job.h"

namespace hearth::manager {

// "https://user@host:5000/x" → "host:5000"; "" where there is none.
std::string UrlHost(std::string_view url);
// Whether one of "*", "*.example.com", "host:5000", "host" (any port) is `host`.
bool HostMatches(const std::string& host, const std::vector<std::string>& patterns);

bool IsHeaderName(std::string_view name);
bool IsHeaderValue(std::string_view value);
// Of one connection only, so that they cannot be handed on: "connection", "host", …
bool IsHopHeader(std::string_view lower_name);

// The task ID by which the job shows `url`.
Result<std::string> TaskIdOf(const JobSpec& spec, const std::string& url);

}  // namespace hearth::manager
