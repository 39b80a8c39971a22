#include "plugin/file_cache.h"

#include "plugin/file_download.h"

namespace hearth::plugin {

bool IsFileIngest(std::string_view ref) {
  constexpr size_t kTaskIdDigits = 64;
  const std::string_view prefix = kFileIngestPrefix;
  return ref.starts_with(prefix) && ref.size() == prefix.size() + kTaskIdDigits &&
         ref.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

Result<FileResult> FileCache::Get(const FileRequest& request,
                                  const std::function<void(const FileProgress&)>& progress,
                                  std::stop_token stop) {
  return FileDownload(options_, request, progress, std::move(stop)).Run();
}

}  // namespace hearth::plugin
