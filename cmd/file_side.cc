#include "cmd/file_side.h"

#include <string>
#include <utility>

#include "cmd/from_config.h"
#include "net/connector.h"

namespace hearth::cmd {

namespace {

constexpr size_t kPassedConnections = 64;
constexpr size_t kPassedBufferBytes = 64 * 1024;
constexpr std::chrono::milliseconds kTunnelConnectTimeout{10'000};

}  // namespace

Result<std::unique_ptr<FileSide>> FileSide::Open(NodeBase& base) {
  auto rules = TRY(RulesOf(base.config.proxy));
  auto client = TRY(net::HttpClient::Create({.max_connections = kPassedConnections,
                                             .receive_buffer_bytes = kPassedBufferBytes,
                                             .user_agent = "hearth/" HEARTH_VERSION,
                                             .check_address = base.check_address}));
  return std::unique_ptr<FileSide>(new FileSide(base, std::move(rules), std::move(client)));
}

FileSide::FileSide(NodeBase& base, plugin::ProxyRules rules,
                   std::unique_ptr<net::HttpClient> client)
    : passing(std::move(client)),
      files({.blobs = base.store->blobs(),
             .ingests = base.store->ingests(),
             .kv = base.store->kv(),
             .client = *base.http,
             .limiter = &base.limiter,
             .rules = std::move(rules),
             .allow_offline = base.config.proxy.offline_allow}),
      proxy({.files = files,
             .client = *passing,
             .timers = base.timers,
             .connect = [&base](const std::string& host, uint16_t port) {
               return net::ConnectTcp(host, port, base.check_address, kTunnelConnectTimeout);
             }}) {}

}  // namespace hearth::cmd
