#include "manager/page_query.h"

#include <algorithm>

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

void PageQuery::AddHeaders(const ApiCall& call, size_t total, ApiAnswer& answer) const {
  const size_t last = std::max<size_t>(1, (total + per_page - 1) / per_page);
  const std::string state = net::QueryValue(call.request.query, "state");
  const auto link = [&](size_t to, const char* rel) {
    return "<" + call.request.path + "?page=" + std::to_string(to) +
           "&per_page=" + std::to_string(per_page) +
           (state.empty() ? "" : "&state=" + net::PercentEncode(state)) + ">;rel=" + rel;
  };
  answer.headers.Add("Link", link(page > 1 ? page - 1 : 1, "prev") + "," +
                                 link(std::min(page + 1, last), "next") + "," + link(1, "first") +
                                 "," + link(last, "last"));
  answer.headers.Add("X-Total-Count", std::to_string(total));
}

}  // namespace hearth::manager
