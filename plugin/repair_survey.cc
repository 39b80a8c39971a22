#include "plugin/repair_survey.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "oci/reference.h"

namespace hearth::plugin {

namespace {

constexpr char kSource[] = "containerd.io/distribution.source.";
// containerd pauses up to 3 s before it connects again to a node that was away.
constexpr std::chrono::seconds kReconnectWait{15};
constexpr std::chrono::milliseconds kReconnectPause{200};

template <typename Call>
auto WhileReconnecting(const std::stop_token& stop, const Call& call) {
  const Deadline deadline = Deadline::After(kReconnectWait);
  auto answer = call();
  const auto passing = [&] {
    // Of its list of snapshots containerd passes on our absence without a code.
    const StatusCode code = answer.status().code();
    return code == StatusCode::kUnavailable || code == StatusCode::kUnknown ||
           code == StatusCode::kAborted;
  };
  while (passing() && !deadline.Passed() && !stop.stop_requested()) {
    std::this_thread::sleep_for(kReconnectPause);
    answer = call();
  }
  return answer;
}

// A snapshot whose name the store has.
void LookAt(const store::SnapshotStore& snapshots, SurveyedSnapshot& snapshot) {
  const auto ours = snapshots.Stat(snapshot.name);
  if (!ours.ok()) return;  // removed meanwhile
  snapshot.layer_lost = ours->chain && !snapshots.FindLayer(*ours->chain).ok();
  std::error_code error;
  snapshot.files_gone = !snapshot.layer_lost &&
                        !std::filesystem::is_directory(snapshots.FsPath(ours->directory), error);
}

Result<std::map<std::string, SurveyedSnapshot>> SnapshotsOf(const SurveySources& sources,
                                                            const std::string& ns,
                                                            const std::stop_token& stop) {
  std::vector<SnapshotRecord> records;
  auto names = TRY(WhileReconnecting(stop, [&] {
    return sources.names.Learn(ns, [&]() -> Status {
      records = TRY(sources.inventory.Snapshots(ns, sources.snapshotter, stop));
      return OkStatus();
    });
  }));
  std::map<std::string, SurveyedSnapshot> found;
  for (SnapshotRecord& record : records) {
    const auto name = names.find(record.key);
    if (name == names.end()) continue;  // made meanwhile
    SurveyedSnapshot snapshot;
    snapshot.name = name->second.name;
    snapshot.lost = !name->second.known;
    if (const auto chain = Digest::Parse(record.key); chain.ok()) snapshot.chain = *chain;
    if (!snapshot.lost) LookAt(sources.store.snapshots(), snapshot);
    snapshot.record = std::move(record);
    found.emplace(snapshot.record.key, std::move(snapshot));
  }
  return found;
}

Result<SurveyedNamespace> SurveyNamespace(const SurveySources& sources, const std::string& name,
                                          const std::stop_token& stop) {
  SurveyedNamespace ns;
  ns.name = name;
  ns.images = TRY(sources.containerd.ListImages(name));
  for (ContentRecord& content : TRY(sources.inventory.Content(name, stop))) {
    ns.content.emplace(content.digest, std::move(content));
  }
  ns.snapshots = TRY(SnapshotsOf(sources, name, stop));
  for (ContainerRecord& container : TRY(sources.inventory.Containers(name, stop))) {
    if (container.snapshotter == sources.snapshotter) ns.containers.push_back(std::move(container));
  }
  return ns;
}

}  // namespace

Result<RepairSurvey> Survey(const SurveySources& sources, const std::stop_token& stop) {
  if (!TRY(sources.containerd.HasPlugin("io.containerd.snapshotter.v1", sources.snapshotter))) {
    return FailedPrecondition("containerd has no snapshotter " + sources.snapshotter +
                              " (run: hearth install, then restart containerd)");
  }
  RepairSurvey survey;
  survey.content_is_ours = TRY(sources.containerd.HasPlugin(kContentType, kContentPlugin));
  std::unordered_set<Digest> counted;
  for (const std::string& name : TRY(sources.containerd.ListNamespaces())) {
    if (stop.stop_requested()) return Cancelled("repair");
    SurveyedNamespace ns = TRY(SurveyNamespace(sources, name, stop));
    for (const auto& [digest, content] : ns.content) {
      if (!survey.Lost(sources.store, digest) || !counted.insert(digest).second) continue;
      ++survey.blobs;
      survey.bytes += content.size_bytes;
    }
    for (const auto& [key, snapshot] : ns.snapshots) {
      if (!snapshot.lost && !snapshot.layer_lost) continue;
      ++survey.snapshots;
      if (snapshot.chain) survey.lost_chains.insert(*snapshot.chain);
    }
    survey.namespaces.push_back(std::move(ns));
  }
  return survey;
}

ImageLosses LossesOf(const RepairSurvey& survey, const SurveyedNamespace& ns,
                     const ImageRecord& image, store::Store& store,
                     const std::string& snapshotter) {
  ImageLosses losses;
  losses.known = ns.content.contains(image.digest);
  std::unordered_set<Digest> seen = {image.digest};
  std::vector<Digest> left = {image.digest};
  std::vector<std::string> keys;  // of top snapshots
  while (!left.empty()) {
    const auto content = ns.content.find(left.back());
    left.pop_back();
    if (content == ns.content.end()) continue;
    if (survey.Lost(store, content->first)) {
      losses.blobs.push_back(content->first);
      losses.bytes += content->second.size_bytes;
    }
    for (const auto& [label, value] : content->second.labels) {
      if (label == kSnapshotGcRef + snapshotter) keys.push_back(value);
      const auto child = Digest::Parse(value);
      if (label.starts_with(kContentGcRef) && child.ok() && seen.insert(*child).second) {
        left.push_back(*child);
      }
    }
  }
  std::unordered_set<std::string> walked;
  for (std::string key : keys) {
    for (auto at = ns.snapshots.find(key); at != ns.snapshots.end() && walked.insert(key).second;
         key = at->second.record.parent_key, at = ns.snapshots.find(key)) {
      const SurveyedSnapshot& snapshot = at->second;
      if (snapshot.chain && (snapshot.lost || snapshot.layer_lost)) {
        losses.layers.push_back(*snapshot.chain);
      }
    }
  }
  return losses;
}

bool IsDocument(const ContentRecord& content) {
  const auto first = content.labels.lower_bound(kContentGcRef);
  return first != content.labels.end() && first->first.starts_with(kContentGcRef);
}

std::vector<oci::Access> OriginsOf(const ContentRecord& content) {
  std::vector<oci::Access> origins;
  for (auto label = content.labels.lower_bound(kSource);
       label != content.labels.end() && label->first.starts_with(kSource); ++label) {
    const std::string domain = oci::NormalizeDomain(label->first.substr(sizeof(kSource) - 1));
    std::string_view left = label->second;
    while (!left.empty()) {
      const size_t comma = std::min(left.find(','), left.size());
      const std::string_view repository = left.substr(0, comma);
      left.remove_prefix(std::min(comma + 1, left.size()));
      if (oci::IsRegistryDomain(domain) && oci::IsRepositoryPath(repository)) {
        origins.push_back({domain, std::string(repository), {}});
      }
    }
  }
  return origins;
}

std::optional<oci::Access> OriginOf(const ImageRecord& image) {
  // CRI names each image by its config's digest too.
  if (image.name.starts_with("sha256:")) return std::nullopt;
  const auto reference = oci::Reference::Parse(image.name);
  if (!reference.ok()) return std::nullopt;
  return oci::Access{reference->domain, reference->path, {}};
}

}  // namespace hearth::plugin
