#include "cmd/kubelet_config.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace hearth::cmd {

namespace {

// Kubernetes' quantities: "10Gi", "500M", "1e9" and plain numbers.
Result<uint64_t> ParseQuantity(const std::string& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},       {"k", 1e3},     {"M", 1e6},        {"G", 1e9},           {"T", 1e12},
      {"P", 1e15},   {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 0x1p40},
      {"Pi", 0x1p50}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& [name, factor] : kUnits) {
    if (error != std::errc() || unit != name) continue;
    const double bytes = number * factor;
    if (!(bytes >= 0) || bytes >= 0x1p63) break;
    return static_cast<uint64_t>(bytes);
  }
  return InvalidArgument("\"" + text + "\" is no quantity");
}

Result<KubeletThreshold> ParseThreshold(const std::string& text) {
  if (!text.ends_with('%')) return KubeletThreshold{0, TRY(ParseQuantity(text))};
  double percent = 0;
  const char* last = text.data() + text.size() - 1;
  const auto [end, error] = std::from_chars(text.data(), last, percent);
  if (error != std::errc() || end != last || !(percent >= 0) || percent > 100) {
    return InvalidArgument("\"" + text + "\" is no percentage");
  }
  return KubeletThreshold{percent, {}};
}

Status Take(const YAML::Node& table, const char* key, KubeletThreshold& out) {
  const YAML::Node value = table[key];
  if (!value || value.IsNull()) return OkStatus();
  out = TRY(ParseThreshold(value.as<std::string>()).Annotate(std::string("evictionHard.") + key));
  return OkStatus();
}

Result<KubeletConfig> ParseNode(const YAML::Node& root) {
  KubeletConfig config;
  if (root.IsNull()) return config;
  if (!root.IsMap()) return InvalidArgument("it is no table");
  if (const YAML::Node hard = root["evictionHard"]; hard && hard.IsMap() && hard.size() > 0) {
    const YAML::Node merge = root["mergeDefaultEvictionSettings"];
    if (!merge || !merge.as<bool>()) {
      // What is not named is off as soon as one is.
      config.images_available = config.node_available = {0, {}};
      config.inodes_free = config.images_inodes_free = {0, {}};
    }
    TRY_STATUS(Take(hard, "imagefs.available", config.images_available));
    TRY_STATUS(Take(hard, "nodefs.available", config.node_available));
    TRY_STATUS(Take(hard, "nodefs.inodesFree", config.inodes_free));
    TRY_STATUS(Take(hard, "imagefs.inodesFree", config.images_inodes_free));
  }
  if (const YAML::Node high = root["imageGCHighThresholdPercent"]; high && !high.IsNull()) {
    config.gc_high_percent = high.as<double>();
    if (!(config.gc_high_percent >= 0 && config.gc_high_percent <= 100)) {
      return InvalidArgument("imageGCHighThresholdPercent is not from 0 to 100");
    }
  }
  return config;
}

}  // namespace

uint64_t KubeletThreshold::Of(uint64_t total) const {
  if (amount) return *amount;
  return static_cast<uint64_t>(std::ceil(static_cast<double>(total) * percent / 100));
}

std::string KubeletThreshold::Text() const {
  if (amount) return std::to_string(*amount);
  char text[32];
  std::snprintf(text, sizeof(text), "%g%%", percent);
  return text;
}

Result<KubeletConfig> KubeletConfig::Parse(const std::string& yaml) {
  try {
    return ParseNode(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    return InvalidArgument(error.what());
  }
}

}  // namespace hearth::cmd
