// Preloaded into a program, makes its wall clock run HEARTH_CLOCK_SPEED times as fast from
// HEARTH_CLOCK_START (seconds since the epoch) on, so that what waits for minutes of disuse is seen
// within seconds; and HEARTH_CLOCK_AHEAD seconds ahead. Steady clocks and the times of files stay
// as they are.
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

#include <cstdint>
#include <cstdlib>

namespace {

using Clock = int (*)(clockid_t, timespec*);
constexpr int64_t kNanoseconds = 1'000'000'000;

int64_t Number(const char* name, int64_t otherwise) {
  const char* text = ::getenv(name);
  return text == nullptr ? otherwise : ::atoll(text);
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* out) noexcept {
  static const auto real = reinterpret_cast<Clock>(::dlsym(RTLD_NEXT, "clock_gettime"));
  static const int64_t speed = Number("HEARTH_CLOCK_SPEED", 1);
  static const int64_t start = Number("HEARTH_CLOCK_START", 0) * kNanoseconds;
  static const int64_t ahead = Number("HEARTH_CLOCK_AHEAD", 0) * kNanoseconds;
  const int answer = real(clock, out);
  if (answer != 0 || clock != CLOCK_REALTIME) return answer;
  const int64_t now = out->tv_sec * kNanoseconds + out->tv_nsec;
  const int64_t quick = start + (now - start) * speed + ahead;
  out->tv_sec = quick / kNanoseconds;
  out->tv_nsec = quick % kNanoseconds;
  return 0;
}

// What looks at certificates asks for seconds only.
extern "C" time_t time(time_t* out) noexcept {
  timespec now{};
  (void)clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

extern "C" int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  (void)clock_gettime(CLOCK_REALTIME, &now);
  *out = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}
