// Page numbers of a request for a list. Pure.
#pragma once

#include <cstddef>

#include "base/status.h"
#include "manager/router.h"

namespace hearth::manager {

// A positive number of the query; `fallback` where it is absent. kInvalidArgument: beyond `most`.
Result<size_t> QueryNumber(const ApiCall& call, const char* name, size_t fallback, size_t most);

struct PageQuery {
  static constexpr size_t kMaxPage = 1'000'000;
  static constexpr size_t kMaxPerPage = 1'000;

  size_t page = 1;
  size_t per_page = 10;
  // Of all that match, from 0 on.
  size_t first() const { return (page - 1) * per_page; }

  // ?page=&per_page=
  static Result<PageQuery> Of(const ApiCall& call, size_t default_per_page);
  // Link (RFC 8288, as Dragonfly writes it) to the other pages, with the same `state` where one was
  // asked for, and X-Total-Count.
  void AddHeaders(const ApiCall& call, size_t total, ApiAnswer& answer) const;
};

}  // namespace hearth::manager
