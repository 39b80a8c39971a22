// Words of which the command line is put together. For the main thread, before anything runs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cmd/commands.h"
#include "cmd/manager_commands.h"

namespace CLI {
class App;
}

namespace hearth::cmd {

using Shared = std::shared_ptr<Common>;
using Run = std::function<int()>;  // what the chosen subcommand does

// A subcommand with the options that all have.
CLI::App* Add(CLI::App& parent, const std::string& name, const std::string& what,
              const std::string& example, const Shared& common);
// Of a command that needs no key of the config: what is typed has to be right all the same.
Run Checked(const Shared& common, Run work);
// --manager, as every client of the manager's API has it.
void AddManagerOption(CLI::App& sub, const std::shared_ptr<ManagerArgs>& manager);
// manager, nodes, jobs and tokens.
void AddManagerCommands(CLI::App& app, const Shared& common, Run& run);

}  // namespace hearth::cmd
