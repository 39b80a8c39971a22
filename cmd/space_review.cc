#include "cmd/space_review.h"

#include <algorithm>

#include "base/units.h"

namespace hearth::cmd {

namespace {

constexpr uint64_t kNoSpacePercent = 5;
constexpr uint64_t kFewInodesPercent = 10;
constexpr uint64_t kNoInodesPercent = 5;

std::string Percent(uint64_t part, uint64_t total) {
  if (total == 0) return "0%";
  return std::to_string(
             static_cast<int>(100.0 * static_cast<double>(part) / static_cast<double>(total))) +
         "%";
}

std::string Amount(uint64_t bytes, uint64_t total) {
  return FormatByteSize(bytes) + " (" + Percent(bytes, total) + ")";
}

// Free space below which kubelet evicts pods; 0 = never.
uint64_t EvictsBelow(const SpaceState& state) {
  uint64_t bytes = state.kubelet->images_available.Of(state.total_bytes);
  if (state.shared_with_kubelet) {
    bytes = std::max(bytes, state.kubelet->node_available.Of(state.total_bytes));
  }
  return bytes;
}

// Free inodes below which it evicts pods; 0 = never.
uint64_t EvictsBelowInodes(const SpaceState& state) {
  if (!state.kubelet) return 0;
  uint64_t inodes = state.kubelet->images_inodes_free.Of(state.total_inodes);
  if (state.shared_with_kubelet) {
    inodes = std::max(inodes, state.kubelet->inodes_free.Of(state.total_inodes));
  }
  return inodes;
}

std::string Inodes(uint64_t inodes, uint64_t total) {
  return std::to_string(inodes) + " (" + Percent(inodes, total) + ")";
}

// Free space from which on it deletes images; 0 = never.
uint64_t DeletesBelow(const SpaceState& state) {
  const double free_percent = 100 - state.kubelet->gc_high_percent;
  return KubeletThreshold{free_percent, {}}.Of(state.total_bytes);
}

void ReviewFree(const SpaceState& state, Findings& findings) {
  const std::string check = "disk space";
  const std::string found = Amount(state.free_bytes, state.total_bytes) + " free for " + state.path;
  const std::string advice = "free some space, or move root to another disk";
  if (state.kubelet && state.free_bytes < EvictsBelow(state)) {
    return findings.Fail(
        check, found, "kubelet evicts pods below " + Amount(EvictsBelow(state), state.total_bytes),
        advice);
  }
  if (state.free_bytes * 100 < state.total_bytes * kNoSpacePercent) {
    return findings.Fail(check, found, "pulls and preheats are about to fail", advice);
  }
  if (state.kubelet && state.free_bytes <= DeletesBelow(state)) {
    return findings.Warn(
        check, found,
        "kubelet deletes images below " + Amount(DeletesBelow(state), state.total_bytes), advice);
  }
  if (state.free_bytes < state.min_free_bytes) {
    return findings.Warn(check, found,
                         "that is less than [store] min_free, " +
                             Amount(state.min_free_bytes, state.total_bytes) +
                             ": preheated data gives way until there is more",
                         advice);
  }
  findings.Ok(check, found);
}

void ReviewInodes(const SpaceState& state, Findings& findings) {
  if (state.total_inodes == 0) return;
  const std::string check = "inodes";
  const std::string found =
      Inodes(state.free_inodes, state.total_inodes) + " free for " + state.path;
  const std::string advice = "delete small files, or move root to a file system with more inodes";
  const uint64_t evicts = EvictsBelowInodes(state);
  if (state.free_inodes < evicts) {
    return findings.Fail(check, found,
                         "kubelet evicts pods below " + Inodes(evicts, state.total_inodes), advice);
  }
  if (state.free_inodes * 100 < state.total_inodes * kNoInodesPercent) {
    return findings.Fail(check, found, "layers of many files cannot be unpacked", advice);
  }
  if (state.free_inodes < state.min_free_inodes) {
    return findings.Warn(check, found,
                         "that is less than [store] min_free_inodes, " +
                             Inodes(state.min_free_inodes, state.total_inodes) +
                             ": preheated layers give way until there are more",
                         advice);
  }
  if (state.free_inodes * 100 < state.total_inodes * kFewInodesPercent) {
    return findings.Warn(check, found, "layers of many files will soon not unpack", advice);
  }
  if (evicts > 0 && state.min_free_inodes <= evicts) {
    return findings.Warn(
        check,
        found + "; [store] min_free_inodes is " + Inodes(state.min_free_inodes, state.total_inodes),
        "kubelet evicts pods below " + Inodes(evicts, state.total_inodes) +
            ", before Hearth gives up what it can fetch again",
        "set [store] min_free_inodes above " + Percent(evicts, state.total_inodes));
  }
  findings.Ok(check, found);
}

void ReviewThresholds(const SpaceState& state, Findings& findings) {
  const std::string check = "disk thresholds";
  const uint64_t kubelet = std::max(EvictsBelow(state), DeletesBelow(state));
  const std::string of_kubelet =
      "kubelet acts below " + Amount(kubelet, state.total_bytes) + " free (imagefs.available " +
      state.kubelet->images_available.Text() + ", imageGCHighThresholdPercent " +
      KubeletThreshold{state.kubelet->gc_high_percent, {}}.Text() + ")";
  const std::string of_node =
      "[store] min_free is " + (state.min_free_bytes == 0
                                    ? std::string("off")
                                    : Amount(state.min_free_bytes, state.total_bytes));
  if (kubelet > 0 && state.min_free_bytes <= kubelet) {
    return findings.Warn(
        check, of_node + ", " + of_kubelet,
        "on a full disk kubelet deletes images and evicts pods before Hearth gives "
        "up what it can fetch again",
        "set [store] min_free above " + Percent(kubelet, state.total_bytes));
  }
  findings.Ok(check, of_node + ", " + of_kubelet);
}

}  // namespace

void ReviewSpace(const SpaceState& state, Findings& findings) {
  ReviewFree(state, findings);
  ReviewInodes(state, findings);
  if (state.kubelet) ReviewThresholds(state, findings);
}

}  // namespace hearth::cmd
