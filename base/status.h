// Status and Result<T>: errors as values, with gRPC's code numbers.
//
// A code is chosen where the error is born and translated once per edge. Layers on the way may add
// what they were doing with Annotate(). Safe to use from any thread; a Status is a plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace hearth {

enum class StatusCode : uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// The code's name in snake_case ("not_found"), as JSON output and logs show it.
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error with "what: " before its message. An OK status stays OK.
  Status Annotate(std::string_view what) const;

  // "not_found: blob sha256:… is not in the store"
  std::string ToString() const;

  friend bool operator==(const Status& a, const Status& b) = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

std::ostream& operator<<(std::ostream& out, const Status& status);

inline Status OkStatus() { return {}; }

// One maker per code that we use: `return NotFound("blob " + digest);`
Status Cancelled(std::string message);
Status Unknown(std::string message);
Status InvalidArgument(std::string message);
Status DeadlineExceeded(std::string message);
Status NotFound(std::string message);
Status AlreadyExists(std::string message);
Status PermissionDenied(std::string message);
Status ResourceExhausted(std::string message);
Status FailedPrecondition(std::string message);
Status Aborted(std::string message);
Status OutOfRange(std::string message);
Status Unimplemented(std::string message);
Status Internal(std::string message);
Status Unavailable(std::string message);
Status DataLoss(std::string message);
Status Unauthenticated(std::string message);

// The Status of a failed system call: ENOENT → kNotFound, EEXIST → kAlreadyExists,
// ENOSPC/EDQUOT/EMFILE → kResourceExhausted, EACCES/EPERM → kPermissionDenied, EIO → kDataLoss,
// others → kInternal. The message is "what: strerror".
Status ErrnoStatus(int error_number, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : state_(std::move(status)) {}  // NOLINT: implicit by design

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? OkStatus() : std::get<Status>(state_); }

  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Result Annotate(std::string_view what) && {
    if (ok()) return std::move(*this);
    return status().Annotate(what);
  }

 private:
  std::variant<T, Status> state_;
};

namespace status_internal {
inline Status ToStatus(Status status) { return status; }
template <typename T>
Status ToStatus(const Result<T>& result) {
  return result.status();
}
template <typename T>
T Unwrap(Result<T>&& result) {
  return std::move(result).value();
}
inline Status Unwrap(Status&& status) { return std::move(status); }
}  // namespace status_internal

// Ends the process with `what` and the place; a broken invariant is a bug, never an error value.
[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

}  // namespace hearth

#define HEARTH_TRY_CONCAT_INNER(a, b) a##b
#define HEARTH_TRY_CONCAT(a, b) HEARTH_TRY_CONCAT_INNER(a, b)
#define HEARTH_TRY_NAMED(result, expr)                                    \
  ({                                                                      \
    auto result = (expr);                                                 \
    if (!result.ok()) return ::hearth::status_internal::ToStatus(result); \
    ::hearth::status_internal::Unwrap(std::move(result));                 \
  })

// Value of a Result, or returns its Status from the enclosing function. Of a Status: returns it if
// it is an error. `auto size = TRY(FileSize(fd));`, `(void)TRY(Sync(fd));`
#define TRY(expr) HEARTH_TRY_NAMED(HEARTH_TRY_CONCAT(hearth_try_, __COUNTER__), expr)

// Returns the Status of `expr` from the enclosing function where it is an error.
#define TRY_STATUS(expr) (void)TRY(expr)

// Stays on in release builds.
#define CHECK(cond) \
  ((cond) ? static_cast<void>(0) : ::hearth::CheckFailed(__FILE__, __LINE__, #cond))
