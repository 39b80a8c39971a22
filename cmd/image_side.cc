#include "cmd/image_side.h"

#include <chrono>

namespace hearth::cmd {

using std::chrono::duration_cast;

ImageSide::ImageSide(NodeBase& base)
    : builder({.store = *base.store,
               .swarm = *base.swarm,
               .workers = base.cores,
               .on_committed = [&base] { base.upkeep->Notice(); }}),
      chains({.blobs = base.store->blobs(), .kv = base.store->kv()}),
      containerd(base.config.containerd, *base.store),
      pulls({.builder = builder, .chains = chains}),
      snapshotter({.store = *base.store,
                   .workers = base.quick,
                   .unpackers = base.unpackers,
                   .timers = base.timers,
                   .chains = &chains,
                   .builder = &builder,
                   .pulls = &pulls,
                   .adopt = Adopter(containerd),
                   .on_removed = [&base] { base.upkeep->Notice(); },
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
  takeover.emplace(plugin::Takeover::Options{*base.store, builder, *containerd.client});
  handback.emplace(plugin::Handback::Options{*base.store, *containerd.client, *containerd.inventory,
                                             *containerd.handback});
  repair.emplace(
      plugin::Repair::Options{.parts = {*base.store, resolver, *base.swarm, builder, chains},
                              .containerd = *containerd.client,
                              .inventory = *containerd.inventory,
                              .names = names});
}

}  // namespace hearth::cmd
