#include <array>
#include <map>
#include <utility>

#include "base/thread.h"
#include "kv/kv.h"

namespace hearth::kv {

namespace {

using Table = std::map<std::string, std::string, std::less<>>;

class MemoryKv final : public Kv {
 public:
  Result<std::string> Get(Family family, std::string_view key) const override {
    MutexLock lock(mutex_);
    const Table& table = tables_[static_cast<size_t>(family)];
    const auto found = table.find(key);
    if (found == table.end()) return NotFound("no such key");
    return found->second;
  }

  Status Write(const Batch& batch, Sync /*sync*/) override {
    MutexLock lock(mutex_);
    for (const auto& change : batch.changes()) {
      Table& table = tables_[static_cast<size_t>(change.family)];
      if (change.is_delete) {
        table.erase(change.key);
      } else {
        table[change.key] = change.value;
      }
    }
    return OkStatus();
  }

  Status ScanAfter(Family family, std::string_view prefix, std::string_view after,
                   const Visit& visit) const override {
    for (const auto& [key, value] : Copy(family, prefix, after)) {
      if (!visit(key, value)) break;
    }
    return OkStatus();
  }

 private:
  std::vector<std::pair<std::string, std::string>> Copy(Family family, std::string_view prefix,
                                                        std::string_view after) const {
    MutexLock lock(mutex_);
    const Table& table = tables_[static_cast<size_t>(family)];
    std::vector<std::pair<std::string, std::string>> found;
    auto it = after < prefix ? table.lower_bound(prefix) : table.upper_bound(after);
    for (; it != table.end(); ++it) {
      if (!it->first.starts_with(prefix)) break;
      found.emplace_back(*it);
    }
    return found;
  }

  mutable Mutex mutex_;
  std::array<Table, kFamilies> tables_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Kv> MakeMemoryKv() { return std::make_unique<MemoryKv>(); }

}  // namespace hearth::kv
