// NodeId and Labels: a node of the cluster as the tracker knows it.
#pragma once

#include <cstdint>
#include <string>

namespace hearth::manager {

// Numbered by the owner of the tracker; never used again for another node while its certificate
// lives.
enum class NodeId : uint32_t {};

inline constexpr uint32_t kNobody = UINT32_MAX;
inline uint32_t Number(NodeId node) { return static_cast<uint32_t>(node); }

// Where a node stands; "" = not known.
struct Labels {
  std::string region;
  std::string zone;
  std::string rack;
  friend bool operator==(const Labels&, const Labels&) = default;
};
// 0 same rack, 1 same zone, 2 same region, 3 anywhere else.
int LabelDistance(const Labels& a, const Labels& b);

}  // namespace hearth::manager
