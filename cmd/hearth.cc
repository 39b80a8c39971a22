// hearth: one binary, its subcommands in files of their own.
#include <csignal>
#include <exception>
#include <iostream>

#include "cmd/command_line.h"
#include "cmd/commands.h"

int main(int argc, char** argv) {
  // A reader that went away is an error of write(2), not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  const hearth::cmd::CommandLine line = hearth::cmd::ReadCommandLine(argc, argv);
  if (!line.run) return line.exit_code;
  try {
    return line.run();
  } catch (const std::exception& error) {
    std::cerr << "hearth: internal error: " << error.what()
              << " (are node and command of one version?)\n";
    return hearth::cmd::kFailed;
  }
}
