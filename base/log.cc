#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>

#include "base/log_line.h"

namespace hearth {

namespace {

bool ToTerminal() {
  static const bool to_terminal = ::isatty(STDERR_FILENO) == 1;
  return to_terminal;
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("hearth",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(ToTerminal() ? "%H:%M:%S.%e %L %v"
                                   : R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l",%v})");
    made->flush_on(spdlog::level::warn);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void Log(LogLevel level, std::string_view message, LogFields fields) {
  if (!LogEnabled(level)) return;
  Logger().log(ToSpdlog(level), "{}",
               ToTerminal() ? LogTextLine(message, fields) : LogJsonMembers(message, fields));
}

void SetLogLevel(LogLevel level) { Logger().set_level(ToSpdlog(level)); }

Result<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return InvalidArgument("log level \"" + std::string(name) +
                         "\": not one of debug, info, warning, error");
}

}  // namespace hearth
