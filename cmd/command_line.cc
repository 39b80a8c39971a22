#include "cmd/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <utility>

#include "base/units.h"
#include "cmd/commands.h"
#include "config/toml_section.h"

namespace hearth::cmd {

namespace {

constexpr const char* kVersion = HEARTH_VERSION;

using Shared = std::shared_ptr<Common>;
using Run = std::function<int()>;

// A subcommand with the options that all have.
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

// Go's duration form plus days, in whole seconds.
std::function<void(const std::string&)> IntoSeconds(std::chrono::seconds& out) {
  return [&out](const std::string& text) {
    const auto parsed = ParseDuration(text);
    if (!parsed.ok()) throw CLI::ValidationError("--pin", text + ": " + parsed.status().message());
    out = std::chrono::duration_cast<std::chrono::seconds>(*parsed);
  };
}

void AddNode(CLI::App& app, const Shared& common, Run& run) {
  CLI::App* sub = Add(app, "node", "the node daemon (root); works alone, without a manager",
                      "hearth node --set root=/var/lib/hearth", common);
  sub->callback([=, &run] { run = [=] { return RunNode(*common); }; });
}

void AddPreheat(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<PreheatArgs>();
  CLI::App* sub = Add(app, "preheat", "make images warm on this node",
                      "hearth preheat docker.io/library/nginx:1.27 --pin 24h", common);
  sub->add_option("REF", args->references, "image references")->required();
  sub->add_option("--depth", args->depth,
                  "blobs: in the store; layers: unpacked too; image: registered in containerd too "
                  "(default: image where a containerd is configured)")
      ->check(CLI::IsMember({"blobs", "layers", "image"}));
  sub->add_option("--platform", args->platforms,
                  "as linux/arm64, repeatable (default: this node's)")
      ->allow_extra_args(false);
  sub->add_option_function<std::string>("--pin", IntoSeconds(args->pin),
                                        "keep at least so long, as 24h or 7d")
      ->type_name("DURATION");
  sub->callback([common, args, &run] { run = [=] { return RunPreheat(*common, *args); }; });
}

void AddExplain(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<ExplainArgs>();
  CLI::App* sub = Add(app, "explain", "would a pull of this image hit, and if not, why (exit 3)",
                      "hearth explain docker.io/library/nginx:1.27", common);
  sub->add_option("REF", args->reference, "image reference")->required();
  sub->add_option("--platform", args->platform, "as linux/arm64 (default: this node's)");
  sub->callback([common, args, &run] { run = [=] { return RunExplain(*common, *args); }; });
}

void AddGet(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<GetArgs>();
  CLI::App* sub = Add(app, "get", "fetch a file through the store",
                      "hearth get https://example.com/model.bin -o model.bin", common);
  sub->add_option("URL", args->url, "http or https URL")->required();
  sub->add_option("-o", args->output_file,
                  "file to write (default: the URL's last part; - = stdout)")
      ->type_name("FILE");
  sub->add_option("--digest", args->digest, "what the file must be, as sha256:HEX");
  sub->add_option("--header", args->headers,
                  "header of the request, as \"Name: value\", repeatable")
      ->allow_extra_args(false);
  sub->callback([common, args, &run] { run = [=] { return RunGet(*common, *args); }; });
}

void AddStore(CLI::App& app, const Shared& common, Run& run) {
  CLI::App* store = Add(app, "store", "look into this node's store", "hearth store ls", common);
  store->require_subcommand(1);
  CLI::App* list =
      Add(*store, "ls", "blobs, layers, snapshots and ingests", "hearth store ls", common);
  list->callback([common, &run] { run = [common] { return RunStoreList(*common); }; });

  auto repair = std::make_shared<bool>(false);
  CLI::App* verify = Add(*store, "verify", "hash every blob and compare index and files (exit 1)",
                         "hearth store verify --repair", common);
  verify->add_flag("--repair", *repair, "drop what is wrong, so that it is fetched again");
  verify->callback([=, &run] { run = [=] { return RunStoreVerify(*common, *repair); }; });

  auto digests = std::make_shared<std::vector<std::string>>();
  CLI::App* remove = Add(*store, "rm", "remove blobs (by digest) or layers (by chain ID)",
                         "hearth store rm sha256:HEX", common);
  remove->add_option("DIGEST", *digests, "digests or chain IDs")->required();
  remove->callback([=, &run] { run = [=] { return RunStoreRemove(*common, *digests); }; });
}

void AddTaskId(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<TaskIdArgs>();
  CLI::App* sub = Add(app, "task-id", "what Dragonfly's job API calls a URL, under each scheme",
                      "hearth task-id https://example.com/f --tag T --piece-length 4MiB", common);
  sub->add_option("URL", args->urls, "URLs of files or blobs")->required();
  sub->add_option("--scheme", args->scheme, "v1, v2.1 … v2.5: print that ID only");
  sub->add_option("--digest", args->digest, "as the request has it (v1 to v2.1.55)");
  sub->add_option("--tag", args->tag, "as the request has it");
  sub->add_option("--application", args->application, "as the request has it");
  sub->add_option("--revision", args->revision, "of a model hub (v2.4, v2.5)");
  sub->add_option("--range", args->range, "as 0-1023 (v1)");
  sub->add_option_function<std::string>(
         "--piece-length",
         [args](const std::string& text) {
           const auto size = ParseByteSize(text);
           if (!size.ok()) {
             throw CLI::ValidationError("--piece-length", text + ": " + size.status().message());
           }
           args->piece_length = *size;
         },
         "as 4MiB (v2.1, v2.3 and later)")
      ->type_name("SIZE");
  sub->add_option_function<std::string>(
         "--filter", [args](const std::string& text) { args->filter = text; },
         "query parameters that do not count, as \"Expires&Signature&ns\"; \"\" = all count "
         "(default: Dragonfly's list)")
      ->type_name("NAMES");
  sub->callback([common, args, &run] { run = [=] { return RunTaskId(*common, *args); }; });
}

void AddInstall(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<InstallArgs>();
  const auto add_shared = [args](CLI::App* sub) {
    sub->add_flag("--dry-run", args->dry_run, "print the changes as a diff, write nothing");
    sub->add_option("--root-prefix", args->root_prefix, "work on the files under DIR instead of /")
        ->type_name("DIR");
  };
  CLI::App* install =
      Add(app, "install", "configure containerd, the registry hosts and systemd for Hearth",
          "hearth install --dry-run", common);
  add_shared(install);
  install->add_flag("--keep-overlayfs", args->keep_overlayfs,
                    "let clients still ask for containerd's own snapshotter");
  install
      ->add_option_function<std::string>(
          "--level",
          [args](const std::string& word) {
            const auto level = plugin::ParseInstallLevel(word);
            if (!level.ok()) throw CLI::ValidationError("--level", level.status().message());
            args->level = *level;
          },
          "mirror: registries are asked through the node; snapshotter: + layers are the node's; "
          "content: + blobs too, and it unpacks (default)")
      ->type_name("LEVEL");
  install->callback([=, &run] { run = [=] { return RunInstall(*common, *args); }; });
  CLI::App* uninstall =
      Add(app, "uninstall", "take back what install wrote", "hearth uninstall --dry-run", common);
  add_shared(uninstall);
  uninstall->add_flag("--force", args->force,
                      "though containers use it, or containerd cannot be asked");
  uninstall->callback([=, &run] { run = [=] { return RunUninstall(*common, *args); }; });
}

void AddAdopt(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<AdoptArgs>();
  CLI::App* sub =
      Add(app, "adopt", "take over containerd's own content store and images (exit 4: not all)",
          "hearth adopt --dry-run", common);
  sub->add_flag("--dry-run", args->dry_run, "say what would be taken, take nothing");
  sub->add_option("--restart", args->restart,
                  "how to restart containerd (default: systemctl restart containerd)")
      ->type_name("CMD");
  sub->callback([=, &run] { run = [=] { return RunAdopt(*common, *args); }; });
}

void AddDoctor(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<DoctorArgs>();
  CLI::App* sub =
      Add(app, "doctor", "check the whole installation (exit 1 when something is wrong)",
          "hearth doctor", common);
  sub->add_option("--root-prefix", args->root_prefix, "look at the files under DIR instead of /")
      ->type_name("DIR");
  sub->callback([=, &run] { run = [=] { return RunDoctor(*common, *args); }; });
}

// What is wrong with a leading word that is no subcommand where one is due, else "".
std::string UnknownSubcommand(const CLI::App& app, int argc, char** argv) {
  const CLI::App* parent = &app;
  std::string path = "hearth";
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i) {
    const CLI::App* chosen = nullptr;
    std::vector<std::string> names;
    for (const CLI::App* sub : parent->get_subcommands([](const CLI::App*) { return true; })) {
      if (sub->get_name() == argv[i]) chosen = sub;
      names.push_back(sub->get_name());
    }
    if (names.empty()) return "";  // the word is an argument
    if (chosen == nullptr) {
      const std::string near = config::NearestName(argv[i], names);
      return "there is no subcommand \"" + std::string(argv[i]) + "\" (" +
             (near.empty() ? "" : "did you mean \"" + near + "\"? ") + "see " + path + " -h)";
    }
    parent = chosen;
    path += std::string(" ") + argv[i];
  }
  return "";
}

// "preheat" for the help hint.
std::string ChosenSubcommand(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "" : " " + chosen.front()->get_name();
}

}  // namespace

CommandLine ReadCommandLine(int argc, char** argv) {
  CLI::App app(
      "Hearth keeps container images warm: containerd's content store, snapshotter and "
      "registry mirror in one daemon.",
      "hearth");
  app.set_version_flag("--version", std::string("hearth ") + kVersion);
  app.require_subcommand(1);
  app.footer(
      "hearth SUBCOMMAND -h says more. Exit codes: 0 done, 1 failed, 2 wrong use or bad "
      "config, 3 not there or not warm, 4 partly done, 130 interrupted.");
  auto common = std::make_shared<Common>();
  CommandLine line;
  AddNode(app, common, line.run);
  AddPreheat(app, common, line.run);
  AddExplain(app, common, line.run);
  AddGet(app, common, line.run);
  AddStore(app, common, line.run);
  AddTaskId(app, common, line.run);
  AddInstall(app, common, line.run);
  AddAdopt(app, common, line.run);
  AddDoctor(app, common, line.run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    line.run = nullptr;
    const std::string wrong = UnknownSubcommand(app, argc, argv);
    line.exit_code = wrong.empty() ? app.exit(help) : static_cast<int>(kWrongUse);
    if (!wrong.empty()) std::cerr << "hearth: read the command line: " << wrong << "\n";
  } catch (const CLI::ParseError& error) {
    line.run = nullptr;
    line.exit_code = kWrongUse;
    std::string why = UnknownSubcommand(app, argc, argv);
    if (why.empty()) why = error.what() + (" (see hearth" + ChosenSubcommand(app)) + " -h)";
    std::cerr << "hearth: read the command line: " << why << "\n";
  }
  return line;
}

}  // namespace hearth::cmd
