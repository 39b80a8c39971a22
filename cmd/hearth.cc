// hearth: one binary, its subcommands in files of their own.
#include <signal.h>
#include <unistd.h>

#include <exception>
#include <iostream>

#include "cmd/command_line.h"
#include "cmd/commands.h"

namespace {

void EndInterrupted(int) { _exit(hearth::cmd::kInterrupted); }

// Ends with 130, as scripts are told, unless the command has something to finish first (Interrupt,
// Signals). Whoever started us with a signal ignored means it.
void EndWhenInterrupted() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = EndInterrupted;
    sigaction(number, &action, nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A reader that went away is an error of write(2), not the end of the process.
  signal(SIGPIPE, SIG_IGN);
  EndWhenInterrupted();
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
