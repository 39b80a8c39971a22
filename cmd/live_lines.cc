#include "cmd/live_lines.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace hearth::cmd {

namespace {

constexpr size_t kDefaultColumns = 80;
constexpr size_t kDefaultRows = 24;

winsize Size(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return size;
}

}  // namespace

LiveLines::LiveLines(int fd, bool wanted) : fd_(fd), live_(wanted && isatty(fd) == 1) {
  if (live_) Write("\x1b[?25l");
}

LiveLines::~LiveLines() {
  if (live_) Write("\x1b[?25h");
}

size_t LiveLines::width() const {
  const size_t columns = Size(fd_).ws_col;
  return columns == 0 ? kDefaultColumns : columns;
}

size_t LiveLines::height() const {
  const size_t rows = Size(fd_).ws_row;
  return rows < 2 ? kDefaultRows : rows - 1;
}

void LiveLines::Draw(const std::vector<std::string>& lines) {
  if (!live_) return;
  std::string text = Erase();
  for (const std::string& line : lines) text += line + "\n";
  drawn_ = lines.size();
  Write(text);
}

void LiveLines::Print(const std::string& line) {
  const std::string erase = Erase();
  drawn_ = 0;
  Write(erase + line + "\n");
}

void LiveLines::Clear() {
  const std::string erase = Erase();
  drawn_ = 0;
  Write(erase);
}

std::string LiveLines::Erase() {
  if (drawn_ == 0) return "";
  return "\r\x1b[" + std::to_string(drawn_) + "A\x1b[J";
}

void LiveLines::Write(const std::string& text) const {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = write(fd_, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a closed terminal must not end the work
    written += static_cast<size_t>(n);
  }
}

}  // namespace hearth::cmd
