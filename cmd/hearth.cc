// hearth: one binary, its subcommands in files of their own.
#include <csignal>

#include "cmd/command_line.h"

int main(int argc, char** argv) {
  // A reader that went away is an error of write(2), not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  const hearth::cmd::CommandLine line = hearth::cmd::ReadCommandLine(argc, argv);
  return line.run ? line.run() : line.exit_code;
}
