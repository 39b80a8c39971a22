// hearth node join: a certificate for this node by join token.
#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cmd/manager_commands.h"
#include "p2p/enroll_client.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokenFileBytes = 4096;

Result<std::string> ReadToken(const std::string& file) {
  if (file.empty()) {
    return InvalidArgument("no join token: name its file with --token-file (- = stdin)");
  }
  if (file != "-") return ReadFile(file, kMaxTokenFileBytes);
  std::string text;
  std::getline(std::cin, text);
  return text;
}

std::string HostName() {
  char name[256] = {};
  (void)::gethostname(name, sizeof(name) - 1);
  return name;
}

Result<p2p::Joined> Join(const config::NodeConfig& config, const JoinArgs& args) {
  const std::string& file =
      args.token_file.empty() ? config.manager.join_token_file : args.token_file;
  const auto token = TRY(p2p::JoinTokenText::Parse(TRY(ReadToken(file))));
  const auto& managers = args.managers.empty() ? config.manager.addresses : args.managers;
  if (managers.empty()) return InvalidArgument("no manager is named (hearth node join HOST:7781)");
  const p2p::NodeDescription node{.name = config.name.empty() ? HostName() : config.name,
                                  .labels = config.labels,
                                  .data_address = "",
                                  .control_address = "",
                                  .program_version = HEARTH_VERSION};
  return p2p::EnrollClient(config.root / "identity")
      .Join(managers, token, args.cluster.empty() ? config.manager.cluster : args.cluster, node);
}

}  // namespace

int RunNodeJoin(const Common& common, const JoinArgs& args) {
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail("config", config.status());
  const auto joined = Join(*config, args);
  if (!joined.ok()) {
    const Status& why = joined.status();
    const bool silent =
        why.code() == StatusCode::kUnavailable || why.code() == StatusCode::kDeadlineExceeded;
    if (!silent) return Fail("node join", why);
    return Fail(
        "node join",
        Status(why.code(), why.message() + " (does a manager run there, and is this its gRPC " +
                               "port, 7781 by default?)"));
  }
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(joined->not_after.time_since_epoch());
  if (common.json) {
    std::cout << json({{"node_id", joined->identity.id},
                       {"cluster", joined->identity.cluster},
                       {"not_after_unix_seconds", seconds.count()},
                       {"folder", (config->root / "identity").native()}})
                     .dump(2)
              << "\n";
  } else if (!common.quiet) {
    std::cout << "joined cluster " << joined->identity.cluster << " as node " << joined->identity.id
              << "\n";
  }
  return kDone;
}

}  // namespace hearth::cmd
