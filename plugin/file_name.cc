#include "plugin/file_name.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/ascii.h"
#include "oci/go_url.h"
#include "oci/task_id.h"
#include "oci/task_url.h"

namespace hearth::plugin {
namespace {

std::string_view WithoutFragment(std::string_view url) { return url.substr(0, url.find('#')); }

std::string_view QueryOf(std::string_view url) {
  url = WithoutFragment(url);
  const size_t mark = url.find('?');
  return mark == std::string_view::npos ? std::string_view() : url.substr(mark + 1);
}

// Values by parameter, in their order, without those that `filter` names.
std::map<std::string, std::vector<std::string>> Parameters(std::string_view url,
                                                           const std::vector<std::string>& filter) {
  std::map<std::string, std::vector<std::string>> values;
  for (auto& [name, value] : oci::ParseGoQuery(QueryOf(url))) {
    if (std::find(filter.begin(), filter.end(), name) != filter.end()) continue;
    values[name].push_back(std::move(value));
  }
  return values;
}

// "HTTPS://Host:443" and "https://host" are one place.
Result<oci::GoUrl> Normal(std::string_view text) {
  if (!IsFileUrl(text)) return InvalidArgument("a file's URL begins with http:// or https://");
  oci::GoUrl url = TRY(oci::GoUrl::Parse(WithoutFragment(text)));
  if (url.host.empty()) return InvalidArgument("a file's URL needs a host");
  url.has_user = false;
  url.user.clear();
  url.host = AsciiLower(url.host);
  const std::string_view default_port = url.scheme == "https" ? ":443" : ":80";
  if (url.host.ends_with(default_port)) url.host.resize(url.host.size() - default_port.size());
  if (url.path.empty()) url.path.push_back('/');
  url.force_query = false;
  return url;
}

oci::TaskIdInput Input(const FileName& name) {
  return {.url = std::string(WithoutFragment(name.url)),
          .digest = name.digest,
          .tag = name.tag,
          .application = name.application,
          .revision = {},
          .range = {},
          .piece_length = name.piece_length,
          .filtered_query_params = name.filter};
}

}  // namespace

Result<std::string> FileName::TaskId() const {
  TRY_STATUS(Normal(url).status());
  return oci::TaskId(oci::kDefaultTaskIdScheme, Input(*this));
}

Result<std::string> FileName::ShownUrl() const {
  return WithoutUserInfo(TRY(oci::TaskUrl(oci::kDefaultTaskIdScheme, Input(*this))));
}

Result<std::string> FileName::Key(const std::vector<std::string>& by_filter) const {
  oci::TaskIdInput input = Input(*this);
  input.url = TRY(Normal(url)).ToString();
  input.filtered_query_params = by_filter;
  return oci::TaskUrl(oci::kDefaultTaskIdScheme, input);
}

Result<std::string> FileName::Address() const {
  oci::GoUrl normal = TRY(Normal(url));
  normal.query.clear();
  return normal.ToString();
}

std::vector<std::string> DifferingParameters(std::string_view ours, std::string_view theirs,
                                             const std::vector<std::string>& filter) {
  const auto left = Parameters(ours, filter);
  const auto right = Parameters(theirs, filter);
  std::set<std::string> names;
  for (const auto& [name, values] : left) {
    const auto found = right.find(name);
    if (found == right.end() || found->second != values) names.insert(name);
  }
  for (const auto& [name, values] : right) {
    if (!left.contains(name)) names.insert(name);
  }
  return {names.begin(), names.end()};
}

}  // namespace hearth::plugin
