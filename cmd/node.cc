// hearth node: builds the daemon's parts in order of dependency and waits for a signal.
#include <signal.h>
#include <sys/stat.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cmd/commands.h"
#include "cmd/file_side.h"
#include "cmd/image_side.h"
#include "cmd/node_base.h"
#include "cmd/node_servers.h"
#include "cmd/notify.h"
#include "cmd/signals.h"
#include "plugin/order_book.h"
#include "plugin/preheat_file.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kGrace{3'000};  // for all servers together
constexpr size_t kProbeConnections = 4;

void SayReady(const Common& common, const NodeServers::Addresses& addresses) {
  LOG_INFO(
      "ready",
      {{"socket", addresses.socket}, {"mirror", addresses.mirror}, {"status", addresses.status}});
  if (!common.json) return;
  std::cout << json({{"ready", true},
                     {"socket", addresses.socket},
                     {"admin_socket", addresses.admin_socket},
                     {"mirror", addresses.mirror},
                     {"status", addresses.status}})
                   .dump()
            << std::endl;
}

// Serves until SIGTERM or SIGINT: reloads, and keeps the service manager's watchdog quiet as long
// as every socket answers.
void WaitForStop(const Common& common, const Signals& signals, const Notifier& notifier,
                 LiveConfig& live, const NodeServers& servers) {
  const std::string serving = "serving; hearth " HEARTH_VERSION;
  notifier.Ready(serving);
  while (true) {
    const int signal = signals.Wait(notifier.keep_alive_interval());
    if (signal == SIGINT || signal == SIGTERM) return;
    if (signal == SIGHUP) {
      notifier.Reloading();
      const Status reloaded = live.Reload(common);
      if (!reloaded.ok()) {
        LOG_ERROR("config not reloaded, the old one stays in force", {{"error", reloaded}});
      }
      notifier.Ready(reloaded.ok() ? serving : "serving; reload failed: " + reloaded.message());
      continue;
    }
    if (const Status ready = servers.Ready(); ready.ok()) {
      notifier.KeepAlive();
    } else {
      LOG_WARNING("not ready", {{"error", ready}});
    }
  }
}

// Of the manager's orders, which run as an operator's preheats do.
plugin::OrderBook::Options OrderOptions(NodeBase& base, ImageSide& images,
                                        plugin::FilePreheater& files) {
  return {.preheat_image =
              [&images](const plugin::PreheatRequest& request, const auto& progress,
                        std::stop_token stop) {
                return images.preheater.Run(request, progress, std::move(stop));
              },
          .preheat_file =
              [&files](const plugin::FileRequest& request, auto pin, const auto& progress,
                       std::stop_token stop) {
                return files.Run(request, pin, progress, std::move(stop));
              },
          .timers = base.timers,
          .default_depth =
              images.containerd.registrar ? plugin::Depth::kImage : plugin::Depth::kLayers};
}

// Nobody new, then whoever waits, then the work, each with nothing left that could call it; the
// same where the start failed half-way.
void Stop(NodeBase& base, ImageSide& images, FileSide& files, NodeServers& servers,
          plugin::OrderBook& orders) {
  // First: the manager must not hear that work failed which the stop ended.
  orders.Stop();
  base.swarm->Stop();
  if (images.containerd.client) images.containerd.client->Stop();
  images.mender.Stop();
  servers.StopWork();
  files.files.Stop();
  images.builder.Stop();
  servers.Stop(kGrace);
  if (base.cluster) base.cluster->Stop(kGrace);
  files.proxy.Stop();
  base.timers.Stop();
  if (images.containerd.registrar) images.containerd.registrar->Stop();
  base.unpackers.Join();
  base.services.Join();
  base.quick.Join();
  base.upkeep.reset();  // before what it sweeps
}

Status Serve(const Common& common, config::NodeConfig config, const Signals& signals,
             const Notifier& notifier) {
  const auto base = TRY(NodeBase::Open(std::move(config)));
  ImageSide images(*base);
  const auto files = TRY(FileSide::Open(*base));
  NodeServers servers(*base, images, *files,
                      TRY(net::HttpClient::Create({.max_connections = kProbeConnections,
                                                   .receive_buffer_bytes = kProbeBytes,
                                                   .check_address = nullptr})));
  plugin::FilePreheater file_preheater({*base->store, *base->collector, files->files});
  plugin::OrderBook orders(OrderOptions(*base, images, file_preheater));
  // Nothing is committed or removed before the servers run.
  base->upkeep.emplace(
      plugin::Upkeep::Options{.store = *base->store,
                              .collector = *base->collector,
                              .sweeps = {[&images] { return images.chains.Sweep(); },
                                         [&files] { return files->files.Sweep(); }}});
  // Also when something throws: what goes first below must not be swept or called any more.
  struct Stopping {
    NodeBase& base;
    ImageSide& images;
    FileSide& files;
    NodeServers& servers;
    plugin::OrderBook& orders;
    ~Stopping() { Stop(base, images, files, servers, orders); }
  } const stopping{*base, images, *files, servers, orders};
  images.mender.Start();
  const Status started = servers.Start();
  if (started.ok()) {
    if (base->cluster) base->cluster->Start(orders);
    SayReady(common, servers.addresses());
    WaitForStop(common, signals, notifier, base->live, servers);
  }
  LOG_INFO("stopping");
  notifier.Stopping();
  return started;
}

}  // namespace

int RunNode(const Common& common) {
  auto config = LoadConfig(common);
  if (!config.ok()) return Fail("config", config.status());
  const Notifier notifier = Notifier::FromEnvironment();  // before there are threads
  const Signals signals;
  ::umask(0);  // layers get the modes that their tars say
  const Status status = Serve(common, std::move(*config), signals, notifier);
  return status.ok() ? kDone : Fail("node", status);
}

}  // namespace hearth::cmd
