#include "manager/page_query.h"

#include "base/units.h"
#include "net/http.h"

namespace hearth::manager {

Result<size_t> QueryNumber(const ApiCall& call, const char* name, size_t fallback, size_t most) {
  const std::string text = net::QueryValue(call.request.query, name);
  if (text.empty()) return fallback;
  const auto number = ParseDecimal(text);
  if (!number || *number == 0 || *number > most) {
    return InvalidArgument(std::string(name) + ": must be 1 to " + std::to_string(most));
  }
  return static_cast<size_t>(*number);
}

Result<PageQuery> PageQuery::Of(const ApiCall& call, size_t default_per_page) {
  PageQuery query;
  query.page = TRY(QueryNumber(call, "page", 1, kMaxPage));
  query.per_page = TRY(QueryNumber(call, "per_page", default_per_page, kMaxPerPage));
  return query;
}

}  // namespace hearth::manager
