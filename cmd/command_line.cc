#include "cmd/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/nearest_name.h"
#include "base/units.h"
#include "cmd/commands.h"
#include "cmd/describe.h"
#include "cmd/manager_commands.h"
#include "cmd/subcommand.h"

namespace hearth::cmd {

namespace {

constexpr const char* kVersion = HEARTH_VERSION;

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
  auto args = std::make_shared<JoinArgs>();
  CLI::App* join =
      Add(*sub, "join", "get a certificate for this node by a join token",
          "hearth node join manager.example.com:7781 --token-file /run/join-token", common);
  join->add_option("MANAGER", args->managers,
                   "HOST:PORT of managers' gRPC (default: [manager] addresses)");
  join->add_option("--token-file", args->token_file,
                   "file with the token; - = stdin (default: [manager] join_token_file)")
      ->type_name("FILE");
  join->add_option("--cluster", args->cluster, "(default: [manager] cluster)");
  sub->callback([=, &run] {
    if (!join->parsed()) run = [=] { return RunNode(*common); };
  });
  join->callback([=, &run] { run = [=] { return RunNodeJoin(*common, *args); }; });
}

void AddPreheat(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<PreheatArgs>();
  auto manager = std::make_shared<ManagerArgs>();
  CLI::App* sub = Add(app, "preheat", "make images warm on this node, or on a manager's nodes",
                      "hearth preheat docker.io/library/nginx:1.27 --pin 24h", common);
  sub->add_option("REF", args->references, "image references")->required();
  sub->add_option("--depth", args->depth,
                  "blobs: in the store; layers: unpacked too; image: registered in containerd too "
                  "(default: image; blobs where containerd has not our snapshotter)")
      ->check(CLI::IsMember({"blobs", "layers", "image"}));
  sub->add_option("--platform", args->platforms,
                  "as linux/arm64, repeatable (default: this node's)")
      ->allow_extra_args(false);
  sub->add_option_function<std::string>("--pin", IntoSeconds(args->pin),
                                        "keep at least so long, as 24h or 7d")
      ->type_name("DURATION");
  AddManagerOption(*sub, manager);
  sub->add_flag("--dry-run", args->dry_run,
                "with a manager: say what each node lacks and has room for, and fetch nothing");
  sub->callback([common, manager, args, &run] {
    run = [=] {
      const bool cluster = !manager->manager.empty() || std::getenv("HEARTH_MANAGER") != nullptr;
      if (args->dry_run) {
        const FleetLook look{.what = "preheat",
                             .references = args->references,
                             .depth = args->depth,
                             .platforms = args->platforms};
        return Checked(common, [=] { return RunFleetLook(*common, *manager, look); })();
      }
      if (!cluster) return RunPreheat(*common, *args);
      return Checked(common, [=] { return RunClusterPreheat(*common, *manager, *args); })();
    };
  });
}

void AddExplain(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<ExplainArgs>();
  auto manager = std::make_shared<ManagerArgs>();
  CLI::App* sub = Add(app, "explain", "would a pull of this image hit, and if not, why (exit 3)",
                      "hearth explain docker.io/library/nginx:1.27", common);
  sub->add_option("REF", args->reference, "image reference")->required();
  sub->add_option("--platform", args->platform, "as linux/arm64 (default: the node's)");
  CLI::Option* node = sub->add_option("--node", args->node, "on this node of a manager");
  sub->add_option("--cluster", args->cluster, "on each node of this cluster of a manager")
      ->excludes(node);
  AddManagerOption(*sub, manager);
  sub->callback([common, manager, args, &run] {
    run = [=] {
      if (args->node.empty() && args->cluster.empty()) return RunExplain(*common, *args);
      FleetLook look{.what = "explain " + args->reference,
                     .references = {args->reference},
                     .depth = "",
                     .platforms = {},
                     .node = args->node,
                     .cluster = args->cluster,
                     .needs_warm = true};
      if (!args->platform.empty()) look.platforms = {args->platform};
      return Checked(common, [=] { return RunFleetLook(*common, *manager, look); })();
    };
  });
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

  auto dry_run = std::make_shared<bool>(false);
  CLI::App* collect = Add(*store, "gc", "free space now as store.quota and store.min_free ask",
                          "hearth store gc --dry-run", common);
  collect->add_flag("--dry-run", *dry_run, "say what would go, and remove nothing");
  collect->callback([=, &run] { run = [=] { return RunStoreCollect(*common, *dry_run); }; });

  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* remove = Add(*store, "rm", "remove blobs and layers, or take preheats of images back",
                         "hearth store rm docker.io/library/nginx:1.27", common);
  remove
      ->add_option(
          "NAME", *names,
          "a blob's digest or a layer's chain ID, which goes unless containerd uses it; or "
          "an image, whose pin ends and of which goes what nothing else needs")
      ->required();
  remove->callback([=, &run] { run = [=] { return RunStoreRemove(*common, *names); }; });
}

void AddTaskId(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<TaskIdArgs>();
  CLI::App* sub = Add(app, "task-id", "what Dragonfly's job API calls a URL, under each scheme",
                      "hearth task-id https://example.com/f --tag T --piece-length 4MiB", common);
  sub->add_option("URL", args->urls, "of files or blobs; or what the scheme names")->required();
  sub->add_option("--scheme", args->scheme, "v1 … v2.5, content, persistent, persistent-cache");
  sub->add_option("--digest", args->digest, "as the request has it (v1 to v2.1.55)");
  sub->add_option("--tag", args->tag, "as the request has it");
  sub->add_option("--application", args->application, "as the request has it");
  sub->add_option("--revision", args->revision, "of a model hub (v2.4, v2.5)");
  sub->add_option("--range", args->range, "as 0-1023 (v1)");
  sub->add_option("--region", args->region, "of the object store (persistent)");
  sub->add_option("--endpoint", args->endpoint, "of the object store (persistent)");
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
  sub->callback(
      [common, args, &run] { run = Checked(common, [=] { return RunTaskId(*common, *args); }); });
}

void AddSim(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<SimArgs>();
  CLI::App* sub = Add(app, "sim", "plan a swarm: how long a blob takes on N nodes, in virtual time",
                      "hearth sim --nodes 1000 --size 1GB --seed 7 --origin 10000", common);
  sub->add_option("--nodes", args->nodes, "nodes that want the blob at once (default: 100)");
  sub->add_option_function<std::string>(
         "--size",
         [args](const std::string& text) {
           const auto size = ParseByteSize(text);
           if (!size.ok()) {
             throw CLI::ValidationError("--size", text + ": " + size.status().message());
           }
           args->size_bytes = *size;
         },
         "of the blob, as 1GB (default: 256MiB)")
      ->type_name("BYTES");
  sub->add_option("--seed", args->seed, "the same seed gives the same result (default: 1)");
  sub->add_option("--uplink", args->uplink, "of a node, Mbit/s (default: 1000)");
  sub->add_option("--downlink", args->downlink, "of a node, Mbit/s (default: 1000)");
  sub->add_option("--origin", args->origin, "link of the registry, Mbit/s (default: 1000)");
  sub->add_option("--rtt", args->max_round_trip_ms, "longest round trip, ms (default: 80)");
  sub->add_option("--racks", args->racks, "nodes of one are 1 ms apart (default: 1 = no racks)");
  sub->add_option("--zones", args->zones, "racks take turns in them (default: 1)");
  sub->add_option("--rack-link", args->rack_link,
                  "shared by a rack, Mbit/s (default: 0 = no limit)");
  sub->add_option("--zone-link", args->zone_link,
                  "shared by a zone, Mbit/s (default: 0 = no limit)");
  sub->add_option("--blobs", args->blobs, "of that size, at once (default: 1)");
  sub->add_flag("--no-digest", args->no_digest, "files whose digest nobody knows");
  sub->add_option("--loss", args->loss, "fraction of requests whose connection breaks");
  sub->add_option("--lying", args->lying, "fraction of nodes that serve wrong bytes");
  sub->add_option("--attesting", args->attesting, "fraction of nodes that attest wrong sums");
  sub->add_option("--slow", args->slow, "fraction of nodes with a tenth of the links");
  sub->add_option("--churn", args->churn, "fraction of nodes that restart meanwhile");
  sub->add_option("--away", args->away_ms, "how long a restart takes, ms (default: 5000)");
  sub->add_option("--lying-bitmaps", args->lying_bitmaps,
                  "fraction of nodes that announce pieces which they do not have");
  sub->add_option("--full", args->full, "fraction of nodes whose disk is full halfway");
  sub->add_option("--refused", args->refused, "fraction of nodes that the registry refuses");
  sub->add_flag("--no-ranges", args->no_ranges, "the registry serves no ranges");
  sub->add_option("--tracker-away", args->tracker_away, "when it does not answer, s, as 0.5..2");
  sub->add_option("--origin-away", args->origin_away, "when the registry does not, s, as 0.5..2");
  sub->add_option("--partition", args->partition,
                  "when half of the nodes do not reach the others, s, as 0.5..2");
  sub->add_option("--origin-gone-at", args->origin_gone_at,
                  "the registry goes for good once that fraction of the blob has left it");
  sub->callback(
      [common, args, &run] { run = Checked(common, [=] { return RunSim(*common, *args); }); });
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
      Add(app, "uninstall", "give images back to containerd, and take back what install wrote",
          "hearth uninstall --restart 'systemctl restart containerd'", common);
  add_shared(uninstall);
  uninstall->add_flag("--force", args->force,
                      "though containers or images would not start again, or nobody can be asked");
  uninstall->add_flag("--no-unpack", args->no_unpack,
                      "leave unpacking to containerd's first use of each image");
  uninstall
      ->add_option("--restart", args->restart,
                   "restart containerd by CMD, then give what came in between (default: neither)")
      ->type_name("CMD");
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

void AddRepair(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<RepairArgs>();
  CLI::App* sub =
      Add(app, "repair", "bring back what containerd names and the store lost (exit 4: not all)",
          "hearth repair --dry-run", common);
  sub->add_flag("--dry-run", args->dry_run, "say what is lost, change nothing");
  sub->add_flag("--verify", args->verify, "hash every blob first; wrong ones are fetched anew");
  sub->callback([=, &run] { run = [=] { return RunRepair(*common, *args); }; });
}

void AddDoctor(CLI::App& app, const Shared& common, Run& run) {
  auto args = std::make_shared<DoctorArgs>();
  CLI::App* sub =
      Add(app, "doctor", "check the whole installation (exit 1 when something is wrong)",
          "hearth doctor", common);
  sub->add_option("--root-prefix", args->root_prefix, "look at the files under DIR instead of /")
      ->type_name("DIR");
  sub->add_option("--registry", args->registry,
                  "also reach this registry, and compare its clock with this machine's")
      ->type_name("HOST[:PORT]");
  sub->callback([=, &run] { run = [=] { return RunDoctor(*common, *args); }; });
}

// The text, or with --output json {"text": …}.
int PrintText(const Common& common, const std::string& text) {
  std::cout << (common.json ? nlohmann::json{{"text", text}}.dump() + "\n" : text);
  return kDone;
}

void AddDescriptions(CLI::App& app, const Shared& common, Run& run) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = Add(app, "completion", "print a completion script for a shell",
                             "source <(hearth completion bash)", common);
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, shell, common, &run] {
    run = Checked(common,
                  [common, text = Completion(app, *shell)] { return PrintText(*common, text); });
  });
  CLI::App* man = Add(app, "man", "print the manual page", "hearth man | man -l -", common);
  man->callback([&app, common, &run] {
    run = Checked(common,
                  [common, text = ManPage(app, kVersion)] { return PrintText(*common, text); });
  });
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
      const std::string near = NearestName(argv[i], names);
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
  AddManagerCommands(app, common, line.run);
  AddPreheat(app, common, line.run);
  AddExplain(app, common, line.run);
  AddGet(app, common, line.run);
  AddStore(app, common, line.run);
  AddTaskId(app, common, line.run);
  AddSim(app, common, line.run);
  AddInstall(app, common, line.run);
  AddAdopt(app, common, line.run);
  AddRepair(app, common, line.run);
  AddDoctor(app, common, line.run);
  AddDescriptions(app, common, line.run);
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
