#include <CLI/CLI.hpp>
#include <sstream>
#include <string>

#include "cmd/describe.h"

namespace hearth::cmd {

namespace {

// Text that roff prints as it is.
std::string Escaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (text.compare(i, 3, "\u2026") == 0) {  // roff's input is not UTF-8
      out += "...";
      i += 2;
    } else if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

void AddCommand(const CLI::App& app, const std::string& path, std::ostream& out) {
  if (app.get_parent() != nullptr) {
    out << ".SS " << Escaped(path) << "\n" << Escaped(app.get_description()) << ".\n";
  }
  for (const CLI::Option* option : app.get_options()) {
    out << ".TP\n.B " << Escaped(option->get_name(true, true)) << "\n"
        << Escaped(option->get_description()) << "\n";
  }
  if (!app.get_footer().empty()) out << ".PP\n.nf\n" << Escaped(app.get_footer()) << "\n.fi\n";
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    AddCommand(*sub, path + " " + sub->get_name(), out);
  }
}

}  // namespace

std::string ManPage(const CLI::App& app, const std::string& version) {
  std::ostringstream out;
  out << ".TH HEARTH 8 \"\" \"hearth " << version << "\"\n.SH NAME\nhearth \\- keeps container "
      << "images warm\n.SH SYNOPSIS\n.B hearth\n.I SUBCOMMAND\n[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n"
      << Escaped(app.get_description()) << "\n.SH COMMANDS\n";
  AddCommand(app, "hearth", out);
  out << ".SH FILES\n.I /etc/hearth/node.toml\n";
  return out.str();
}

}  // namespace hearth::cmd
