#include <CLI/CLI.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cmd/describe.h"

namespace hearth::cmd {

namespace {

std::vector<const CLI::App*> Subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// Subcommands and option names that may follow `app`, separated by spaces.
std::string Words(const CLI::App& app) {
  std::string words;
  for (const CLI::App* sub : Subcommands(app)) words += sub->get_name() + " ";
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_snames()) words += "-" + name + " ";
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

// Lines of two `case` statements: which word leads to which command, and what may follow it.
void AddCases(const CLI::App& app, const std::string& path, std::ostream& steps,
              std::ostream& words) {
  words << "    '" << path << "') next='" << Words(app) << "' ;;\n";
  for (const CLI::App* sub : Subcommands(app)) {
    const std::string below = path + " " + sub->get_name();
    steps << "      '" << below << "') at='" << below << "' ;;\n";
    AddCases(*sub, below, steps, words);
  }
}

// The body that bash and zsh share: `next` becomes what may follow the `typed` words.
std::string FindWords(const CLI::App& app, const std::string& typed) {
  std::ostringstream steps;
  std::ostringstream words;
  AddCases(app, "hearth", steps, words);
  return "  local word at=hearth next=''\n  for word in " + typed +
         "; do\n    case \"$at $word\" in\n" + steps.str() + "    esac\n  done\n" +
         "  case \"$at\" in\n" + words.str() + "  esac\n";
}

std::string Quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text)
    out += (c == '\'' || c == '\\') ? std::string("\\") + c : std::string(1, c);
  return out + "'";
}

void AddFish(const CLI::App& app, const std::string& condition, std::ostream& out) {
  const std::string start = "complete -c hearth -n " + Quoted(condition);
  for (const CLI::App* sub : Subcommands(app)) {
    out << start << " -f -a " << sub->get_name() << " -d " << Quoted(sub->get_description())
        << "\n";
    const std::string seen = "__fish_seen_subcommand_from " + sub->get_name();
    const bool top = condition == "__fish_use_subcommand";
    AddFish(*sub, top ? seen : condition + "; and " + seen, out);
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() && option->get_snames().empty()) continue;
    out << start;
    for (const std::string& name : option->get_snames()) out << " -s " << name;
    for (const std::string& name : option->get_lnames()) out << " -l " << name;
    if (option->get_items_expected_max() > 0) out << " -r";
    out << " -d " << Quoted(option->get_description()) << "\n";
  }
}

}  // namespace

std::string Completion(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") {
    return "_hearth() {\n" + FindWords(app, "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\"") +
           "  COMPREPLY=($(compgen -W \"$next\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
           "complete -o default -F _hearth hearth\n";
  }
  if (shell == "fish") {
    std::ostringstream out;
    AddFish(app, "__fish_use_subcommand", out);
    return out.str();
  }
  return "#compdef hearth\n_hearth() {\n" + FindWords(app, "\"${(@)words[2,CURRENT-1]}\"") +
         "  compadd -- ${=next}\n  _files\n}\n"
         // As a file of fpath this is the body of _hearth, and its first call has to complete too.
         "if [ \"$funcstack[1]\" = _hearth ]; then\n  _hearth \"$@\"\nelse\n"
         "  compdef _hearth hearth\nfi\n";
}

}  // namespace hearth::cmd
