#include "manager/fleet.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace hearth::manager {

namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 253;
constexpr size_t kMaxAddressBytes = 300;
constexpr size_t kMaxVersionBytes = 64;
constexpr size_t kIdDigits = 32;
constexpr std::chrono::minutes kLastSeenStep{5};
constexpr const char* kNodeKeys = "node/";
constexpr const char* kNextNumberKey = "next_node_number";

bool IsPlain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f; });
}

json ToJson(const Node& node) {
  return {{"number", static_cast<uint32_t>(node.number)},
          {"cluster", node.cluster},
          {"name", node.profile.name},
          {"labels", node.profile.labels},
          {"data_address", node.profile.data_address},
          {"control_address", node.profile.control_address},
          {"program_version", node.profile.program_version},
          {"joined", ToUnixNanos(node.joined)},
          {"last_seen", ToUnixNanos(node.last_seen)},
          {"banned", node.banned},
          {"ban_reason", node.ban_reason},
          {"cordoned", node.cordoned},
          {"cordon_reason", node.cordon_reason}};
}

Node NodeFrom(std::string id, const json& record) {
  Node node;
  node.id = std::move(id);
  node.number = NodeId{record.at("number").get<uint32_t>()};
  node.cluster = record.at("cluster").get<std::string>();
  node.profile.name = record.at("name").get<std::string>();
  node.profile.labels = record.at("labels").get<std::map<std::string, std::string>>();
  node.profile.data_address = record.at("data_address").get<std::string>();
  node.profile.control_address = record.at("control_address").get<std::string>();
  node.profile.program_version = record.at("program_version").get<std::string>();
  node.joined = FromUnixNanos(record.at("joined").get<int64_t>());
  node.last_seen = FromUnixNanos(record.at("last_seen").get<int64_t>());
  node.banned = record.at("banned").get<bool>();
  node.ban_reason = record.at("ban_reason").get<std::string>();
  node.cordoned = record.value("cordoned", false);
  node.cordon_reason = record.value("cordon_reason", "");
  return node;
}

Status NoNode(std::string_view name) {
  return NotFound("there is no node \"" + std::string(name) + "\"");
}

}  // namespace

Status CheckProfile(const NodeProfile& profile) {
  const std::string& name = profile.name;
  const bool named =
      !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
      });
  if (!named) {
    return InvalidArgument(
        "a node's name is 1 to 64 letters, digits, '.', '-' and '_' "
        "(set `name` in node.toml)");
  }
  if (profile.labels.size() > kMaxLabels) return InvalidArgument("more than 64 labels");
  for (const auto& [key, value] : profile.labels) {
    if (key.empty() || key.size() > kMaxLabelBytes || value.size() > kMaxLabelBytes ||
        !IsPlain(key) || !IsPlain(value)) {
      return InvalidArgument("a label's key and value are at most 253 visible ASCII characters");
    }
  }
  for (const std::string* address : {&profile.data_address, &profile.control_address}) {
    if (address->size() > kMaxAddressBytes || !IsPlain(*address)) {
      return InvalidArgument("an address is HOST:PORT of at most 300 characters");
    }
  }
  if (profile.program_version.size() > kMaxVersionBytes || !IsPlain(profile.program_version)) {
    return InvalidArgument("a version is at most 64 visible ASCII characters");
  }
  return OkStatus();
}

Labels PlaceOf(const std::map<std::string, std::string>& labels) {
  const auto at = [&](const char* key) {
    const auto found = labels.find(key);
    return found == labels.end() ? std::string() : found->second;
  };
  return {at("region"), at("zone"), at("rack")};
}

Result<std::unique_ptr<Fleet>> Fleet::Open(kv::Kv& kv, const Clock& clock) {
  std::unique_ptr<Fleet> fleet(new Fleet(kv, clock));
  TRY_STATUS(fleet->Load());
  return fleet;
}

std::string Fleet::IdOf(const Digest& public_key_hash) {
  return public_key_hash.hex().substr(0, kIdDigits);
}

Status Fleet::Load() {
  MutexLock lock(mutex_);
  Status bad;
  const std::string_view prefix = kNodeKeys;
  TRY_STATUS(kv_.Scan(kv::Family::kMeta, prefix,
                      [&](std::string_view key, std::string_view value) NO_THREAD_SAFETY_ANALYSIS {
                        try {
                          Node node =
                              NodeFrom(std::string(key.substr(prefix.size())), json::parse(value));
                          names_[node.profile.name] = node.id;
                          next_number_ =
                              std::max(next_number_, static_cast<uint32_t>(node.number) + 1);
                          nodes_[node.id] = std::move(node);
                        } catch (const json::exception& error) {
                          bad = DataLoss("record " + std::string(key) + ": " + error.what());
                        }
                        return bad.ok();
                      }));
  const auto next = kv_.Get(kv::Family::kMeta, kNextNumberKey);
  if (next.ok()) {
    next_number_ = std::max(next_number_, static_cast<uint32_t>(ParseDecimal(*next).value_or(0)));
  } else if (next.status().code() != StatusCode::kNotFound) {
    return next.status();
  }
  return bad;
}

Status Fleet::Save(const Node& node, kv::Sync sync) {
  return kv_.Put(kv::Family::kMeta, kNodeKeys + node.id,
                 ToJson(node).dump(-1, ' ', false, json::error_handler_t::replace), sync);
}

Status Fleet::CheckEnrollLocked(const std::string& id, const std::string& cluster,
                                const NodeProfile& profile) const {
  TRY_STATUS(CheckProfile(profile));
  const auto known = nodes_.find(id);
  if (known != nodes_.end()) {
    if (known->second.banned) {
      return PermissionDenied("node " + known->second.profile.name +
                              " is banned: " + known->second.ban_reason);
    }
    if (known->second.profile.name == profile.name && known->second.cluster == cluster) {
      return OkStatus();
    }
    return AlreadyExists("this node's key is known as " + known->second.profile.name +
                         " of cluster " + known->second.cluster + " (`hearth nodes forget " +
                         known->second.profile.name + "` first)");
  }
  if (names_.contains(profile.name)) {
    return AlreadyExists("a node with another key has the name " + profile.name +
                         " (choose another name, or `hearth nodes forget " + profile.name + "`)");
  }
  if (nodes_.size() >= kMaxNodes) return ResourceExhausted("too many nodes (forget some)");
  return OkStatus();
}

Status Fleet::CheckEnroll(const Digest& public_key_hash, const std::string& cluster,
                          const NodeProfile& profile) const {
  MutexLock lock(mutex_);
  return CheckEnrollLocked(IdOf(public_key_hash), cluster, profile);
}

Result<Node> Fleet::Enroll(const Digest& public_key_hash, const std::string& cluster,
                           const NodeProfile& profile) {
  const std::string id = IdOf(public_key_hash);
  MutexLock lock(mutex_);
  TRY_STATUS(CheckEnrollLocked(id, cluster, profile));
  const auto known = nodes_.find(id);
  Node node = known != nodes_.end() ? known->second : Node{};
  if (known == nodes_.end()) {
    node.id = id;
    node.number = NodeId{next_number_};
    node.cluster = cluster;
    node.joined = clock_.WallNow();
    // Never given again, also after the node was forgotten.
    TRY_STATUS(
        kv_.Put(kv::Family::kMeta, kNextNumberKey, std::to_string(++next_number_), kv::Sync::kNo));
  }
  node.profile = profile;
  node.last_seen = clock_.WallNow();
  TRY_STATUS(Save(node, kv::Sync::kYes));
  names_[profile.name] = id;
  nodes_[id] = node;
  return node;
}

Result<Node> Fleet::Find(std::string_view id) const {
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return NoNode(id);
  return found->second;
}

Result<Node> Fleet::FindByName(std::string_view name_or_id) const {
  MutexLock lock(mutex_);
  const auto name = names_.find(name_or_id);
  const auto found =
      nodes_.find(name == names_.end() ? name_or_id : std::string_view(name->second));
  if (found == nodes_.end()) return NoNode(name_or_id);
  return found->second;
}

std::vector<Node> Fleet::List() const {
  MutexLock lock(mutex_);
  std::vector<Node> list;
  list.reserve(nodes_.size());
  for (const auto& [name, id] : names_) list.push_back(nodes_.find(id)->second);
  return list;
}

Status Fleet::Connected(std::string_view id, const NodeProfile& profile) {
  TRY_STATUS(CheckProfile(profile));
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return NoNode(profile.name);
  if (found->second.profile.name != profile.name) {
    return InvalidArgument("this node's key is bound to the name " + found->second.profile.name);
  }
  Node node = found->second;
  node.profile = profile;
  node.last_seen = clock_.WallNow();
  node.connected = true;
  TRY_STATUS(Save(node, kv::Sync::kNo));
  found->second = std::move(node);
  return OkStatus();
}

void Fleet::Disconnected(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  found->second.connected = false;
  found->second.last_seen = clock_.WallNow();
  // Kept for people only.
  (void)Save(found->second, kv::Sync::kNo);
}

void Fleet::Seen(std::string_view id, const std::optional<NodeUsage>& usage) {
  const WallTime now = clock_.WallNow();
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  if (usage) node.usage = *usage;
  const bool save = now >= node.last_seen + kLastSeenStep;
  node.last_seen = now;
  if (save) (void)Save(node, kv::Sync::kNo);
}

Status Fleet::Forget(std::string_view id) {
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return NoNode(id);
  TRY_STATUS(kv_.Delete(kv::Family::kMeta, kNodeKeys + found->first, kv::Sync::kYes));
  names_.erase(found->second.profile.name);
  nodes_.erase(found);
  return OkStatus();
}

Status Fleet::SetBan(std::string_view id, bool banned, const std::string& reason) {
  return Change(id, [&](Node& node) {
    node.banned = banned;
    node.ban_reason = banned ? reason.substr(0, kMaxReasonBytes) : "";
  });
}

Status Fleet::SetCordon(std::string_view id, bool cordoned, const std::string& reason) {
  return Change(id, [&](Node& node) {
    node.cordoned = cordoned;
    node.cordon_reason = cordoned ? reason.substr(0, kMaxReasonBytes) : "";
  });
}

Status Fleet::Change(std::string_view id, const std::function<void(Node&)>& change) {
  MutexLock lock(mutex_);
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return NoNode(id);
  Node node = found->second;
  change(node);
  TRY_STATUS(Save(node, kv::Sync::kYes));
  found->second = std::move(node);
  return OkStatus();
}

std::vector<std::string> Fleet::Banned(std::string_view cluster) const {
  MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, node] : nodes_) {
    if (node.banned && node.cluster == cluster) ids.push_back(id);
  }
  return ids;
}

}  // namespace hearth::manager
