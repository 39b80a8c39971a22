// FilePreheater: makes a file behind a URL warm on this node. Any thread; Run blocks.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>

#include "base/clock.h"
#include "base/status.h"
#include "plugin/file_cache.h"
#include "plugin/preheat.h"
#include "store/collector.h"
#include "store/store.h"

namespace hearth::plugin {

class FilePreheater {
 public:
  struct Options {
    store::Store& store;
    store::Collector& collector;
    FileCache& files;
    const Clock& clock = RealClock();
  };
  explicit FilePreheater(Options options) : options_(options) {}

  // Errors as FileCache::Get(); kResourceExhausted: there is no room and none can be made.
  Result<PreheatResult> Run(FileRequest request, std::optional<std::chrono::seconds> pin,
                            const std::function<void(const PreheatProgress&)>& progress,
                            std::stop_token stop);

 private:
  const Options options_;
};

}  // namespace hearth::plugin
