#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

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

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
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

void Log(LogLevel level, std::string_view message, LogFields fields) {
  auto& logger = Logger();
  if (!logger.should_log(ToSpdlog(level))) return;
  std::string line;
  if (ToTerminal()) {
    line = message;
    for (const auto& [key, value] : fields) {
      line += ' ';
      line += key;
      line += '=';
      line += value.text();
    }
  } else {
    line = "\"message\":";
    AppendJsonString(line, message);
    for (const auto& [key, value] : fields) {
      line += ',';
      AppendJsonString(line, key);
      line += ':';
      if (value.quoted()) {
        AppendJsonString(line, value.text());
      } else {
        line += value.text();
      }
    }
  }
  logger.log(ToSpdlog(level), "{}", line);
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
