#include "kv/kv.h"

#include <utility>

namespace hearth::kv {

void Batch::Put(Family family, std::string key, std::string value) {
  changes_.push_back({family, std::move(key), std::move(value), false});
}

void Batch::Delete(Family family, std::string key) {
  changes_.push_back({family, std::move(key), {}, true});
}

Status Kv::Put(Family family, std::string key, std::string value, Sync sync) {
  Batch batch;
  batch.Put(family, std::move(key), std::move(value));
  return Write(batch, sync);
}

Status Kv::Delete(Family family, std::string key, Sync sync) {
  Batch batch;
  batch.Delete(family, std::move(key));
  return Write(batch, sync);
}

}  // namespace hearth::kv
