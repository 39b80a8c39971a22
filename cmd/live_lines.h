// LiveLines: a few lines at the bottom of a terminal that are redrawn in place.
//
// One thread at a time. Writes to one file descriptor; where that is no terminal, or no
// lines are wanted, Draw does nothing. The cursor is shown again and the lines stay or go when it
// is destroyed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hearth::cmd {

class LiveLines {
 public:
  LiveLines(int fd, bool wanted);
  ~LiveLines();
  LiveLines(const LiveLines&) = delete;
  LiveLines& operator=(const LiveLines&) = delete;

  bool live() const { return live_; }
  // The terminal's size now; asked for each drawing, so a resized window is followed.
  size_t width() const;
  size_t height() const;

  // Replaces what was drawn.
  void Draw(const std::vector<std::string>& lines);
  // A line that stays, above the drawn ones.
  void Print(const std::string& line);
  // Takes the drawn lines away.
  void Clear();

 private:
  std::string Erase();
  void Write(const std::string& text) const;

  const int fd_;
  const bool live_;
  size_t drawn_ = 0;
};

}  // namespace hearth::cmd
