#include "cmd/image_side.h"

#include <chrono>

namespace hearth::cmd {

using std::chrono::duration_cast;

ImageSide::ImageSide(NodeBase& base)
    : builder({.store = *base.store,
               .swarm = *base.swarm,
               .workers = base.cores,
               .on_committed =
                   [this, &base] {
                     base.upkeep->Notice();
                     mender.Recheck();
                   }}),
      chains({.blobs = base.store->blobs(), .kv = base.store->kv()}),
      mender({.store = *base.store,
              .builder = builder,
              .chains = chains,
              .timers = base.timers,
              .repair = base.config.containerd.address.empty()
                            ? std::function<Status(std::stop_token)>()
                            : [this](std::stop_token stop) { return BringBackAll(stop); }}),
      containerd(base.config.containerd, *base.store, [this] { mender.OnContainerd(); }),
      pulls({.builder = builder, .chains = chains}),
      snapshotter({.store = *base.store,
                   .workers = base.quick,
                   .unpackers = base.unpackers,
                   .timers = base.timers,
                   .chains = &chains,
                   .builder = &builder,
                   .pulls = &pulls,
                   .mender = &mender,
                   .adopt = Adopter(containerd),
                   .on_changed = [&base] { base.upkeep->Notice(); },
                   .prepare_wait = duration_cast<std::chrono::milliseconds>(
                       base.config.containerd.prepare_wait)}),
      mirror({.blobs = base.store->blobs(),
              .swarm = *base.swarm,
              .registry = *base.registry,
              .timers = base.timers,
              .observer = &chains,
              .auth_cache = duration_cast<std::chrono::seconds>(base.config.mirror.auth_cache),
              .serve_stale_tags = base.config.mirror.serve_stale_tags}),
      resolver(*base.registry, base.store->blobs(), &mirror),
      preheater({.store = *base.store,
                 .collector = *base.collector,
                 .resolver = resolver,
                 .swarm = *base.swarm,
                 .builder = builder,
                 .chains = chains,
                 .registrar = containerd.registrar.get()}),
      explainer({.store = *base.store,
                 .resolver = resolver,
                 .swarm = *base.swarm,
                 .registrar = containerd.registrar.get()}) {
  if (!containerd.client) return;
  takeover.emplace(
      plugin::Takeover::Options{*base.store, *base.collector, builder, *containerd.client});
  handback.emplace(plugin::Handback::Options{*base.store, *containerd.client, *containerd.inventory,
                                             *containerd.handback});
  repair.emplace(plugin::Repair::Options{
      .parts = {*base.store, resolver, *base.swarm, builder, chains, *containerd.inventory},
      .containerd = *containerd.client,
      .names = names,
      .on_item = [this] { mender.Recheck(); }});
}

Status ImageSide::BringBackAll(std::stop_token stop) {
  // With the mirror alone nothing of containerd's lies here.
  if (!TRY(containerd.client->HasPlugin("io.containerd.snapshotter.v1", "hearth"))) {
    return OkStatus();
  }
  const auto make_way = sole.TryBeginOwn();
  if (!make_way) {
    return Cancelled("an adopt, repair or uninstall is under way, after which it is tried again");
  }
  std::stop_source ended;
  const auto end = [&ended] { ended.request_stop(); };
  const std::stop_callback on_stop(std::move(stop), end);
  const std::stop_callback on_operator(*make_way, end);
  std::string first;
  const plugin::RepairEvents events = {
      .damaged = [](const std::string& /*problem*/) {},
      .surveyed = [](const plugin::RepairLosses& /*losses*/) {},
      .progress = [](uint64_t /*bytes_done*/, uint64_t /*bytes_total*/) {},
      .item =
          [&](const plugin::RepairItem& item) {
            const bool failed = item.state == plugin::RepairState::kFailed;
            if (failed && first.empty()) first = item.name + ": " + item.reason;
          }};
  const auto done = repair->Run({}, events, ended.get_token());
  sole.EndOwn();
  TRY_STATUS(done.status());
  if (done->failed == 0) return OkStatus();
  return FailedPrecondition(std::to_string(done->failed) + " not brought back; first " + first);
}

}  // namespace hearth::cmd
