// Finding: one line of `hearth doctor`; Findings: all of them, and how they are printed.
//
// What other programs and files said comes out escaped and cut (base/log_line.h). One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hearth::cmd {

struct Finding {
  enum class State : uint8_t { kOk, kWarn, kFail };

  State state = State::kOk;
  std::string check;   // "containerd version": stable, scripts look for it
  std::string detail;  // what was found
  std::string why;     // what follows from it; "" where nothing is wrong
  std::string advice;  // what to do; likewise
};

class Findings {
 public:
  void Ok(const std::string& check, const std::string& detail) {
    list_.push_back({Finding::State::kOk, check, detail, "", ""});
  }
  void Warn(const std::string& check, const std::string& detail, const std::string& why,
            const std::string& advice) {
    list_.push_back({Finding::State::kWarn, check, detail, why, advice});
  }
  void Fail(const std::string& check, const std::string& detail, const std::string& why,
            const std::string& advice) {
    list_.push_back({Finding::State::kFail, check, detail, why, advice});
  }
  void Add(Finding finding) { list_.push_back(std::move(finding)); }

  const std::vector<Finding>& list() const { return list_; }
  bool AnyFailed() const;
  // A line each; why and advice below it.
  std::string Text() const;
  // {"ok":bool,"findings":[{"check","state","detail","why","advice"}]}
  std::string Json() const;

 private:
  std::vector<Finding> list_;
};

}  // namespace hearth::cmd
