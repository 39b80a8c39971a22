#include "manager/time_text.h"

#include <ctime>

namespace hearth::manager {

std::string TimeText(WallTime time) {
  const std::time_t whole =
      std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  char text[32] = {};
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace hearth::manager
