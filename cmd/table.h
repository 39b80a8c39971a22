// Table: columns of text, each as wide as its widest cell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hearth::cmd {

class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
  // Missing cells are empty.
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  // The head and all rows, two blanks between columns, none at the end of a line.
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace hearth::cmd
