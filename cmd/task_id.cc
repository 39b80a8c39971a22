#include "oci/task_id.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/commands.h"
#include "cmd/table.h"
#include "oci/task_url.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

Result<std::vector<oci::TaskIdScheme>> SchemesOf(const TaskIdArgs& args) {
  if (args.scheme.empty()) {
    return std::vector<oci::TaskIdScheme>(oci::kTaskIdSchemes.begin(), oci::kTaskIdSchemes.end());
  }
  return std::vector<oci::TaskIdScheme>{TRY(oci::ParseTaskIdScheme(args.scheme))};
}

oci::TaskIdInput InputOf(const TaskIdArgs& args, const std::string& url) {
  oci::TaskIdInput input;
  input.url = url;
  input.digest = args.digest;
  input.tag = args.tag;
  input.application = args.application;
  input.revision = args.revision;
  input.range = args.range;
  input.piece_length = args.piece_length;
  if (args.filter) input.filtered_query_params = oci::ParseFilteredQueryParams(*args.filter);
  return input;
}

// Of what is no URL; none under the schemes that take one.
std::optional<std::string> IdOfNoUrl(const TaskIdArgs& args, const std::string& text) {
  if (args.scheme == "content") return oci::TaskIdOfContent(text);
  if (args.scheme == "persistent") {
    return oci::PersistentTaskId(text, args.region, args.endpoint);
  }
  if (args.scheme == "persistent-cache") {
    return oci::PersistentCacheTaskId(text, InputOf(args, ""));
  }
  return std::nullopt;
}

// {"url": …, "tasks": [{"scheme", "task_id", "hashed_url"}], "blob_task_id": of a blob's URL}
Result<json> Compute(const TaskIdArgs& args, const std::string& url) {
  const oci::TaskIdInput input = InputOf(args, url);
  json tasks = json::array();
  if (const auto id = IdOfNoUrl(args, url)) {
    tasks.push_back({{"scheme", args.scheme}, {"task_id", *id}, {"hashed_url", url}});
    return json{{"url", url}, {"tasks", std::move(tasks)}, {"blob_task_id", nullptr}};
  }
  for (const oci::TaskIdScheme scheme : TRY(SchemesOf(args))) {
    const std::string name(oci::TaskIdSchemeName(scheme));
    const std::string hashed = TRY(oci::TaskUrl(scheme, input).Annotate("scheme " + name));
    tasks.push_back(
        {{"scheme", name}, {"task_id", TRY(oci::TaskId(scheme, input))}, {"hashed_url", hashed}});
  }
  const auto blob = oci::TaskIdOfBlobUrl(url);
  return json{{"url", url},
              {"tasks", std::move(tasks)},
              {"blob_task_id", blob.ok() ? json(*blob) : json(nullptr)}};
}

void Print(const json& answer, bool with_url) {
  Table table({"SCHEME", "TASK ID", "HASHED URL"});
  for (const json& task : answer["tasks"]) {
    table.Add({task["scheme"].get<std::string>(), task["task_id"].get<std::string>(),
               task["hashed_url"].get<std::string>()});
  }
  if (answer["blob_task_id"].is_string()) {
    table.Add({"blob digest", answer["blob_task_id"].get<std::string>()});
  }
  if (with_url) std::cout << answer["url"].get<std::string>() << "\n";
  std::cout << table.ToString();
}

}  // namespace

int RunTaskId(const Common& common, const TaskIdArgs& args) {
  json answers = json::array();
  for (const std::string& url : args.urls) {
    auto answer = Compute(args, url);
    if (!answer.ok()) return Fail("task-id", answer.status());
    answers.push_back(*std::move(answer));
  }
  if (common.json) {
    std::cout << json{{"urls", std::move(answers)}}.dump(2, ' ', false,
                                                         json::error_handler_t::replace)
              << "\n";
    return kDone;
  }
  for (const json& answer : answers) {
    if (args.scheme.empty()) {
      Print(answer, answers.size() > 1);
    } else {
      std::cout << answer["tasks"][0]["task_id"].get<std::string>() << "\n";
    }
  }
  return kDone;
}

}  // namespace hearth::cmd
