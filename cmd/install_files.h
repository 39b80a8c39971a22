// Texts that `hearth install` writes, built in from config/node.toml and deploy/hearth.service.
#pragma once

namespace hearth::cmd {

extern const char* const kNodeTomlText;
extern const char* const kHearthServiceText;

}  // namespace hearth::cmd
