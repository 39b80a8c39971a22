#include "cmd/subcommand.h"

#include <CLI/CLI.hpp>
#include <utility>
#include <vector>

namespace hearth::cmd {

CLI::App* Add(CLI::App& parent, const std::string& name, const std::string& what,
              const std::string& example, const Shared& common) {
  CLI::App* sub = parent.add_subcommand(name, what);
  sub->footer("Example:\n  " + example);
  sub->add_option("--config", common->config_file,
                  "config file (default: /etc/hearth/node.toml where it exists)")
      ->type_name("FILE");
  sub->add_option_function<std::vector<std::string>>(
         "--set",
         [common](const std::vector<std::string>& sets) {
           common->sets.insert(common->sets.end(), sets.begin(), sets.end());
         },
         "one key of the config, as mirror.listen=127.0.0.1:0; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  sub->add_option_function<std::string>(
         "--output", [common](const std::string& form) { common->json = form == "json"; },
         "text, or json: one JSON document on stdout")
      ->type_name("FORM")
      ->check(CLI::IsMember({"text", "json"}));
  sub->add_flag("--quiet,-q", common->quiet, "print errors only");
  return sub;
}

Run Checked(const Shared& common, Run work) {
  return [common, work = std::move(work)]() -> int {
    if (!common->config_file.empty() || !common->sets.empty()) {
      const auto config = LoadConfig(*common);
      if (!config.ok()) return Fail("config", config.status());
    }
    return work();
  };
}

void AddManagerOption(CLI::App& sub, const std::shared_ptr<ManagerArgs>& manager) {
  sub.add_option("--manager", manager->manager,
                 "the manager's API, as https://HOST:7780 (default: HEARTH_MANAGER); the token "
                 "comes from HEARTH_TOKEN, whom to trust from HEARTH_CA_FILE")
      ->type_name("URL");
}

}  // namespace hearth::cmd
