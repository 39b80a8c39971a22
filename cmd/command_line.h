// CommandLine: what the user typed, read into one of the subcommands.
#pragma once

#include <functional>
#include <string>

namespace hearth::cmd {

struct CommandLine {
  std::function<int()> run;  // the subcommand; null = nothing to run, `exit_code` stands
  int exit_code = 0;
};

// Prints help, version or what is wrong, where that is all there is to do.
CommandLine ReadCommandLine(int argc, char** argv);

}  // namespace hearth::cmd
