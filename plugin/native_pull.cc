#include "plugin/native_pull.h"

#include <utility>

#include "base/log.h"

namespace hearth::plugin {

Result<std::shared_ptr<LayerBuild>> NativePulls::Start(const std::string& containerd_namespace,
                                                       const ChainIndex::Candidate& candidate) {
  const ImageLayers& image = *candidate.image;
  const Digest& wanted = image.layers[candidate.index].chain;
  if (candidate.origins.empty()) {
    return Unavailable("layer " + wanted.ToString() + ": no registry is known for it");
  }
  const std::string key = containerd_namespace + " " + image.layers.back().chain.ToString();
  std::shared_ptr<Pull> pull;
  {
    MutexLock lock(mutex_);
    if (const auto running = pulls_.find(key); running != pulls_.end()) {
      if (auto build = options_.builder.Find(wanted)) return build;
    } else if (pulls_.size() >= options_.limit) {
      return ResourceExhausted(std::to_string(pulls_.size()) + " images are being pulled");
    }
  }
  pull = std::make_shared<Pull>();
  pull->image = candidate.image;
  for (size_t i = candidate.index; i < image.layers.size(); ++i) {
    const ImageLayer& layer = image.layers[i];
    auto build = options_.builder.Build({.chain = layer.chain,
                                         .parent_chain = image.ParentChain(i),
                                         .diff_id = layer.diff_id,
                                         .blob = layer.blob,
                                         .origins = candidate.origins});
    if (!build.ok()) {
      if (pull->builds.empty()) return build.status();
      break;  // containerd comes back for this one, and gets the error or mounts then
    }
    pull->builds.push_back(std::move(*build));
  }
  const auto first = pull->builds.front();
  pull->left = pull->builds.size();
  {
    MutexLock lock(mutex_);
    pulls_[key] = pull;
  }
  LOG_INFO("pulling for containerd", {{"manifest", image.manifest.ToString()},
                                      {"namespace", containerd_namespace},
                                      {"from_layer", candidate.index},
                                      {"layers", image.layers.size()}});
  for (size_t i = 0; i < pull->builds.size(); ++i) {
    pull->builds[i]->WhenEnded([this, key, pull, chain = image.layers[candidate.index + i].chain,
                                weak = std::weak_ptr<LayerBuild>(pull->builds[i])] {
      if (const auto build = weak.lock();
          build && build->status().code() == StatusCode::kDataLoss) {
        options_.chains.Reject(chain, pull->image->manifest);
      }
      OnLayerEnded(key, pull);
    });
  }
  return first;
}

void NativePulls::OnLayerEnded(const std::string& key, const std::shared_ptr<Pull>& pull) {
  std::vector<std::shared_ptr<LayerBuild>> ended;  // dropped outside of the lock
  {
    MutexLock lock(mutex_);
    if (--pull->left > 0) return;
    ended.swap(pull->builds);
    if (const auto entry = pulls_.find(key); entry != pulls_.end() && entry->second == pull) {
      pulls_.erase(entry);
    }
  }
}

}  // namespace hearth::plugin
