// ContainerdSide: what a node has only with a containerd to talk to.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/node_config.h"
#include "plugin/containerd_client.h"
#include "plugin/containerd_watch.h"
#include "plugin/default_snapshotter.h"
#include "plugin/handback_client.h"
#include "plugin/inventory_client.h"
#include "plugin/registrar.h"
#include "store/store.h"

namespace hearth::cmd {

// All null where the config names no containerd.
struct ContainerdSide {
  std::unique_ptr<plugin::ContainerdClient> client;
  std::unique_ptr<plugin::InventoryClient> inventory;
  std::unique_ptr<plugin::HandbackClient> handback;
  std::unique_ptr<plugin::Registrar> registrar;
  std::unique_ptr<plugin::DefaultSnapshotter> default_snapshotter;
  bool told_cri = false;  // of the watch's thread
  std::unique_ptr<plugin::ContainerdWatch> watch;

  // `on_answer`: as ContainerdWatch's.
  ContainerdSide(const config::ContainerdConfig& config, store::Store& store,
                 std::function<void()> on_answer);
  ContainerdSide(const ContainerdSide&) = delete;
  ContainerdSide& operator=(const ContainerdSide&) = delete;

 private:
  // A containerd that started before us could read none of its images, and CRI leaves those out
  // until it hears of them. Once; CRI asks again where it cannot reach us yet.
  void TellCri();
  void SetDefaultSnapshotter();
};

// What the snapshotter calls for each layer that containerd takes from us.
std::function<void(const std::string&, const store::LayerInfo&, std::function<void()>)> Adopter(
    const ContainerdSide& containerd);

}  // namespace hearth::cmd
