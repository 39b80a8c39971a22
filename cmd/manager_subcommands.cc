// The command lines of the manager and of its clients.
#include <CLI/CLI.hpp>
#include <memory>

#include "cmd/manager_commands.h"
#include "cmd/subcommand.h"

namespace hearth::cmd {

namespace {

void AddManager(CLI::App& app, const Shared& common, Run& run) {
  CLI::App* sub = Add(app, "manager", "the cluster's manager: API, certificates, tracker",
                      "hearth manager --config /etc/hearth/manager.toml", common);
  sub->get_option("--config")
      ->description("config file (default: /etc/hearth/manager.toml where it exists)");
  auto manager = std::make_shared<ManagerArgs>();
  auto file = std::make_shared<std::string>();
  CLI::App* backup = Add(*sub, "backup", "what the manager on this machine keeps, in one file",
                         "hearth manager backup /backup/hearth-manager.backup", common);
  AddManagerOption(*backup, manager);
  backup->add_option("FILE", *file, "to write (0600); it has the authority's key")->required();
  backup->callback([=, &run] {
    run = Checked(common, [=] { return RunManagerBackup(*common, *manager, *file); });
  });
  CLI::App* restore =
      Add(*sub, "restore", "put a backup into the root of a manager that has not run yet",
          "hearth manager restore /backup/hearth-manager.backup", common);
  restore->add_option("FILE", *file, "of hearth manager backup")->required();
  restore->callback([=, &run] { run = [=] { return RunManagerRestore(*common, *file); }; });
  sub->callback([=, &run] {
    if (!backup->parsed() && !restore->parsed()) run = [=] { return RunManager(*common); };
  });
}

void AddCordon(CLI::App& nodes, const Shared& common, Run& run) {
  auto manager = std::make_shared<ManagerArgs>();
  auto args = std::make_shared<CordonArgs>();
  const auto add = [&](const std::string& verb, const char* what) {
    CLI::App* sub = Add(nodes, verb, what, "hearth nodes " + verb + " n1", common);
    AddManagerOption(*sub, manager);
    sub->add_option("NAME", args->name, "name or ID")->required();
    if (verb != "uncordon") sub->add_option("--reason", args->reason, "for people");
    sub->callback([=, &run] {
      args->verb = verb;
      run = Checked(common, [=] { return RunNodesCordon(*common, *manager, *args); });
    });
  };
  add("cordon", "leave a node out of the jobs that are made from now on");
  add("uncordon", "let jobs have a node again");
  add("drain", "cordon a node, and end its share of the jobs under way");
}

void AddNodes(CLI::App& app, const Shared& common, Run& run) {
  auto manager = std::make_shared<ManagerArgs>();
  auto name = std::make_shared<std::string>();
  CLI::App* nodes =
      Add(app, "nodes", "the nodes of a manager's clusters", "hearth nodes ls", common);
  nodes->require_subcommand(1);
  CLI::App* list = Add(*nodes, "ls", "all nodes", "hearth nodes ls --cluster default", common);
  AddManagerOption(*list, manager);
  list->add_option("--cluster", *name, "of this cluster only");
  list->callback(
      [=, &run] { run = Checked(common, [=] { return RunNodesList(*common, *manager, *name); }); });
  CLI::App* show = Add(*nodes, "show", "one node", "hearth nodes show n1", common);
  AddManagerOption(*show, manager);
  show->add_option("NAME", *name, "name or ID")->required();
  show->callback(
      [=, &run] { run = Checked(common, [=] { return RunNodesShow(*common, *manager, *name); }); });
  CLI::App* forget =
      Add(*nodes, "forget", "free a node's name for another key", "hearth nodes forget n1", common);
  AddManagerOption(*forget, manager);
  forget->add_option("NAME", *name, "name or ID")->required();
  forget->callback([=, &run] {
    run = Checked(common, [=] { return RunNodesForget(*common, *manager, *name); });
  });
  AddCordon(*nodes, common, run);
}

void AddJobs(CLI::App& app, const Shared& common, Run& run) {
  auto manager = std::make_shared<ManagerArgs>();
  auto id = std::make_shared<std::string>();
  auto state = std::make_shared<std::string>();
  CLI::App* jobs =
      Add(app, "jobs", "preheats that a manager runs on its nodes", "hearth jobs ls", common);
  jobs->require_subcommand(1);
  CLI::App* list = Add(*jobs, "ls", "the latest 100", "hearth jobs ls --state FAILURE", common);
  AddManagerOption(*list, manager);
  list->add_option("--state", *state, "in this state only")
      ->check(CLI::IsMember({"PENDING", "SUCCESS", "FAILURE"}));
  list->callback(
      [=, &run] { run = Checked(common, [=] { return RunJobsList(*common, *manager, *state); }); });
  const auto add = [&](const char* name, const char* what, auto action) {
    CLI::App* sub = Add(*jobs, name, what, std::string("hearth jobs ") + name + " 7", common);
    AddManagerOption(*sub, manager);
    sub->add_option("ID", *id, "of the job")->required();
    sub->callback([=, &run] { run = Checked(common, action); });
  };
  add("show", "how a job stands", [=] { return RunJobsShow(*common, *manager, *id); });
  add("watch", "follow a job to its end (exit 1 failed, 4 on some nodes)",
      [=] { return RunJobsWatch(*common, *manager, *id); });
  add("cancel", "end a job; what is warm stays",
      [=] { return RunJobsChange(*common, *manager, "cancel", *id); });
  add("retry", "try again what failed of a job that ended",
      [=] { return RunJobsChange(*common, *manager, "retry", *id); });
}

void AddPrepull(CLI::App& app, const Shared& common, Run& run) {
  auto manager = std::make_shared<ManagerArgs>();
  auto args = std::make_shared<PrepullArgs>();
  CLI::App* sub =
      Add(app, "prepull", "hand ImagePrePullJobs of KubeEdge to a manager",
          "hearth prepull -f job.yaml --secret default/secret=config.json --wait", common);
  AddManagerOption(*sub, manager);
  sub->add_option("-f,--file", args->files, "YAML or JSON documents, - for stdin; repeatable")
      ->type_name("FILE")
      ->required()
      ->allow_extra_args(false);
  sub->add_option("--secret", args->secrets,
                  "a docker config that jobs name as imageSecrets; repeatable")
      ->type_name("NAMESPACE/NAME=FILE")
      ->allow_extra_args(false);
  sub->add_flag("--wait", args->wait, "until each job has ended (exit 1 failed, 4 on some nodes)");
  sub->add_flag("--dry-run", args->dry_run, "check everything, and begin nothing");
  sub->callback(
      [=, &run] { run = Checked(common, [=] { return RunPrepull(*common, *manager, *args); }); });
}

void AddTokens(CLI::App& app, const Shared& common, Run& run) {
  auto manager = std::make_shared<ManagerArgs>();
  auto args = std::make_shared<TokenArgs>();
  auto id = std::make_shared<std::string>();
  CLI::App* tokens =
      Add(app, "tokens", "tokens of a manager's API, and for joining", "hearth tokens ls", common);
  tokens->require_subcommand(1);
  const auto add_shared = [&](CLI::App* sub) {
    AddManagerOption(*sub, manager);
    sub->add_flag("--join", args->join, "join tokens instead of tokens of the API");
  };
  CLI::App* create = Add(*tokens, "create", "make a token and print it, this once",
                         "hearth tokens create --join --uses 10 --expires 2h > join-token", common);
  add_shared(create);
  create->add_option("--name", args->name, "what it is for");
  create
      ->add_option("--scope", args->scopes,
                   "job, cluster, node or admin, each also with :read; repeatable")
      ->allow_extra_args(false);
  create
      ->add_option("--expires", args->expires_in,
                   "after so long, as 30d (default: never; of a join token: 24h)")
      ->type_name("DURATION");
  create->add_option("--cluster", args->cluster, "that a join token is for (default: default)");
  create->add_option("--uses", args->uses, "nodes that may join with it (default: 1)");
  create->callback([=, &run] {
    run = Checked(common, [=] { return RunTokensCreate(*common, *manager, *args); });
  });
  CLI::App* list = Add(*tokens, "ls", "all tokens, without their text", "hearth tokens ls", common);
  add_shared(list);
  list->callback([=, &run] {
    run = Checked(common, [=] { return RunTokensList(*common, *manager, args->join); });
  });
  CLI::App* revoke =
      Add(*tokens, "revoke", "end a token at once", "hearth tokens revoke 1a2b3c4d5e6f", common);
  add_shared(revoke);
  revoke->add_option("ID", *id, "as `hearth tokens ls` shows it")->required();
  revoke->callback([=, &run] {
    run = Checked(common, [=] { return RunTokensRevoke(*common, *manager, args->join, *id); });
  });
}

}  // namespace

void AddManagerCommands(CLI::App& app, const Shared& common, Run& run) {
  AddManager(app, common, run);
  AddNodes(app, common, run);
  AddJobs(app, common, run);
  AddPrepull(app, common, run);
  AddTokens(app, common, run);
}

}  // namespace hearth::cmd
