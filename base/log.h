// Logging: one line per event, to stderr. JSON when stderr is not a terminal, else readable text.
//
// Any thread. `LOG_INFO("blob committed", {{"digest", d.ToString()}, {"size_bytes", n}})`.
// The fields of an event that is not shown are not evaluated. Strangers' bytes may go in:
// log_line.h escapes and cuts them. Secrets never go in: pass them as Secret<T>, which prints as
// ***.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace hearth {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// A value of one log field; numbers stay numbers in JSON.
class LogValue {
 public:
  LogValue(std::string_view text) : text_(text), quoted_(true) {}          // NOLINT: implicit
  LogValue(const std::string& text) : LogValue(std::string_view(text)) {}  // NOLINT: implicit
  LogValue(const char* text) : LogValue(std::string_view(text)) {}         // NOLINT: implicit
  LogValue(const Status& status) : LogValue(status.ToString()) {}          // NOLINT: implicit
  LogValue(bool value) : text_(value ? "true" : "false") {}                // NOLINT: implicit
  LogValue(double value)                                                   // NOLINT: implicit
      : text_(std::to_string(value)), quoted_(!std::isfinite(value)) {}    // JSON has no NaN
  template <typename T>
  requires std::is_integral_v<T> LogValue(T value)
      : text_(std::to_string(value)) {}  // NOLINT: implicit

  const std::string& text() const { return text_; }
  bool quoted() const { return quoted_; }

 private:
  std::string text_;
  bool quoted_ = false;
};

using LogFields = std::initializer_list<std::pair<std::string_view, LogValue>>;

// Use the macros below.
void Log(LogLevel level, std::string_view message, LogFields fields = {});
bool LogEnabled(LogLevel level);
// Events below `level` are dropped; the start value is kInfo.
void SetLogLevel(LogLevel level);
// "debug", "info", "warning", "error".
Result<LogLevel> ParseLogLevel(std::string_view name);

// A value that never reaches a log: printing it gives ***.
template <typename T>
class Secret {
 public:
  Secret() = default;
  explicit Secret(T value) : value_(std::move(value)) {}
  const T& Reveal() const { return value_; }
  friend bool operator==(const Secret&, const Secret&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Secret&) { return out << "***"; }

 private:
  T value_{};
};

}  // namespace hearth

#define HEARTH_LOG(level, ...) \
  (::hearth::LogEnabled(level) ? ::hearth::Log(level, __VA_ARGS__) : static_cast<void>(0))
#define LOG_DEBUG(...) HEARTH_LOG(::hearth::LogLevel::kDebug, __VA_ARGS__)
#define LOG_INFO(...) HEARTH_LOG(::hearth::LogLevel::kInfo, __VA_ARGS__)
#define LOG_WARNING(...) HEARTH_LOG(::hearth::LogLevel::kWarning, __VA_ARGS__)
#define LOG_ERROR(...) HEARTH_LOG(::hearth::LogLevel::kError, __VA_ARGS__)
