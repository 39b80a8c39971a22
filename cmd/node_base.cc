#include "cmd/node_base.h"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/file.h"
#include "cmd/address_check.h"
#include "cmd/from_config.h"

namespace hearth::cmd {

namespace {

constexpr size_t kServiceThreads = 8;
constexpr size_t kQuickThreads = 4;
constexpr size_t kQueue = 65'536;
constexpr size_t kUnpackQueue = 4096;

config::NodeConfig Named(config::NodeConfig config) {
  if (config.name.empty()) {
    char name[256] = {};
    (void)::gethostname(name, sizeof(name) - 1);
    config.name = name;
  }
  return config;
}

}  // namespace

size_t NodeBase::Cores() { return std::max<size_t>(2, std::thread::hardware_concurrency()); }

NodeBase::NodeBase(config::NodeConfig own_config)
    : config(Named(std::move(own_config))),
      live(config),
      cpu({.name = "cpu", .threads = cores, .queue_limit = kQueue}),
      services({.name = "services", .threads = kServiceThreads, .queue_limit = kQueue}),
      quick({.name = "quick", .threads = kQuickThreads, .queue_limit = kQueue}),
      unpackers({.name = "apply", .threads = cores, .queue_limit = kUnpackQueue}),
      limiter(RatesOf(config.limits)) {
  live.on_reload = [this](const config::NodeConfig& fresh) {
    limiter.SetRates(RatesOf(fresh.limits));
  };
}

Result<std::unique_ptr<NodeBase>> NodeBase::Open(config::NodeConfig config) {
  std::unique_ptr<NodeBase> base(new NodeBase(std::move(config)));
  TRY_STATUS(base->OpenParts());
  return base;
}

Status NodeBase::OpenParts() {
  TRY_STATUS(MakeDirectories(config.run, 0700));
  store = TRY(store::Store::Open({.root = config.root, .cpu_pool = cpu, .kv = nullptr}));
  check_address = TRY(AddressCheckOf(live, TRY(RulesOf(config.proxy))));
  http = TRY(net::HttpClient::Create(
      {.user_agent = "hearth/" HEARTH_VERSION, .check_address = check_address}));
  registry.emplace(*http, RealClock(),
                   oci::Registry::Options{.host = [this](const std::string& domain) {
                     return HostOf(*live.Get(), domain);
                   }});
  collector.emplace(store::Collector::Options{.store = *store,
                                              .limits = [this](const store::FileSystemSize& size) {
                                                return LimitsOf(live.Get()->store, size);
                                              }});
  private_blobs.emplace(store->kv());
  cluster = TRY(ClusterSide::Open({.config = config,
                                   .store = *store,
                                   .cpu = cpu,
                                   .timers = timers,
                                   .limiter = limiter,
                                   .private_blobs = *private_blobs}));
  swarm.emplace(p2p::Swarm::Options{
      .blobs = store->blobs(),
      .registry = *registry,
      .cluster = cluster ? &cluster->cluster() : nullptr,
      .is_private = [this](const std::string& domain) { return IsPrivate(*live.Get(), domain); },
      .private_blobs = &*private_blobs,
      .pace = {&limiter, &timers}});
  return OkStatus();
}

}  // namespace hearth::cmd
