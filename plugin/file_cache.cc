#include "plugin/file_cache.h"

#include "plugin/file_download.h"

namespace hearth::plugin {

Result<FileResult> FileCache::Get(const FileRequest& request,
                                  const std::function<void(const FileProgress&)>& progress,
                                  std::stop_token stop) {
  return FileDownload(options_, request, progress, std::move(stop)).Run();
}

}  // namespace hearth::plugin
