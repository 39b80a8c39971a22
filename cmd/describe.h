// The command line told in other forms than --help: shell completions and a man page. All are read
// from the CLI11 description that parses the command line, so they cannot differ from it.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace hearth::cmd {

// The completion script for `shell`: bash, zsh or fish. Any thread; `app` is only read.
std::string Completion(const CLI::App& app, const std::string& shell);
// The page hearth(8) as roff.
std::string ManPage(const CLI::App& app, const std::string& version);

}  // namespace hearth::cmd
