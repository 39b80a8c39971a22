// RunProgram: another program's output, within a time limit.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/status.h"

namespace hearth::cmd {

struct ProgramResult {
  int exit_code = 0;
  std::string out;  // stdout, cut at kMaxProgramOutputBytes
  std::string err;  // stderr, likewise
};

inline constexpr size_t kMaxProgramOutputBytes = 1024 * 1024;

// Runs argv[0] as found in PATH, without stdin. kNotFound: no such program; kDeadlineExceeded: it
// was killed after `limit`. Any thread; blocks.
Result<ProgramResult> RunProgram(const std::vector<std::string>& argv, std::chrono::seconds limit);

}  // namespace hearth::cmd
