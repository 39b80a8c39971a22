// ImageSide: what a node does with images, whoever asks for it: containerd, the mirror's clients,
// an operator.
//
// The members are in order of dependency; whoever uses them is destroyed before.
#pragma once

#include <optional>
#include <stop_token>

#include "cmd/containerd_side.h"
#include "cmd/node_base.h"
#include "plugin/chain_index.h"
#include "plugin/explain.h"
#include "plugin/handback.h"
#include "plugin/image_resolver.h"
#include "plugin/layer_builder.h"
#include "plugin/mender.h"
#include "plugin/mirror.h"
#include "plugin/native_pull.h"
#include "plugin/overlay_snapshotter.h"
#include "plugin/preheat.h"
#include "plugin/repair.h"
#include "plugin/snapshot_names.h"
#include "plugin/sole_run.h"
#include "plugin/takeover.h"

namespace hearth::cmd {

struct ImageSide {
  explicit ImageSide(NodeBase& base);  // which outlives this
  ImageSide(const ImageSide&) = delete;
  ImageSide& operator=(const ImageSide&) = delete;

  plugin::LayerBuilder builder;
  plugin::ChainIndex chains;
  plugin::SoleRun sole;
  plugin::Mender mender;
  ContainerdSide containerd;
  plugin::NativePulls pulls;
  plugin::OverlaySnapshotter snapshotter;
  plugin::Mirror mirror;
  plugin::ImageResolver resolver;
  plugin::Preheater preheater;
  plugin::Explainer explainer;
  plugin::SnapshotNames names;
  // Empty where there is no containerd.
  std::optional<plugin::Takeover> takeover;
  std::optional<plugin::Handback> handback;
  std::optional<plugin::Repair> repair;

 private:
  // Everything that containerd names, as `hearth repair` does.
  Status BringBackAll(std::stop_token stop);
};

}  // namespace hearth::cmd
