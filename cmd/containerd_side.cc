#include "cmd/containerd_side.h"

#include <utility>

#include "base/log.h"

namespace hearth::cmd {

namespace {

constexpr char kCriNamespace[] = "k8s.io";  // whatever containerd.namespace says

}  // namespace

ContainerdSide::ContainerdSide(const config::ContainerdConfig& config, store::Store& store,
                               std::function<void()> on_answer) {
  if (config.address.empty()) return;
  client = plugin::ContainerdClient::Create({.address = config.address});
  inventory = plugin::InventoryClient::Create({.address = config.address});
  handback = plugin::HandbackClient::Create(config.address);
  registrar = std::make_unique<plugin::Registrar>(
      plugin::Registrar::Options{.containerd = *client,
                                 .bytes = *handback,
                                 .blobs = store.blobs(),
                                 .containerd_namespace = config.containerd_namespace});
  default_snapshotter = std::make_unique<plugin::DefaultSnapshotter>(
      plugin::DefaultSnapshotter::Options{.containerd = *client, .address = config.address});
  watch = std::make_unique<plugin::ContainerdWatch>(plugin::ContainerdWatch::Options{
      .containerd = *client, .store = store, .on_answer = [this, on_answer = std::move(on_answer)] {
        on_answer();
        TellCri();
        SetDefaultSnapshotter();
      }});
}

void ContainerdSide::TellCri() {
  if (told_cri) return;
  const auto images = client->ListImages(kCriNamespace);
  if (!images.ok()) return;
  told_cri = true;
  for (const auto& image : *images) {
    const Status told = client->TouchImage(kCriNamespace, image.name);
    if (told.ok() || told.code() == StatusCode::kNotFound) continue;
    LOG_WARNING("CRI not told of an image", {{"image", image.name}, {"error", told}});
  }
}

void ContainerdSide::SetDefaultSnapshotter() {
  const auto labelled = default_snapshotter->SetWhereWanted();
  if (!labelled.ok()) {
    LOG_WARNING("default snapshotter not set, it is tried again", {{"error", labelled.status()}});
    return;
  }
  for (const std::string& name : *labelled) {
    LOG_INFO("default snapshotter set", {{"namespace", name}});
  }
}

std::function<void(const std::string&, const store::LayerInfo&, std::function<void()>)> Adopter(
    const ContainerdSide& containerd) {
  if (!containerd.registrar) return nullptr;
  return [&registrar = *containerd.registrar](const std::string& ns, const store::LayerInfo& layer,
                                              std::function<void()> adopted) {
    registrar.AdoptBlob(ns, layer, std::move(adopted));
  };
}

}  // namespace hearth::cmd
