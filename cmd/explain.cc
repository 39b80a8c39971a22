#include <algorithm>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/preheat_progress.h"
#include "cmd/table.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

std::string YesNo(const json& entry, const char* key) {
  return entry.value(key, false) ? "yes" : "no";
}

std::string Text(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

// "2026-01-31 12:00 UTC", "-" where nothing is pinned.
std::string PinnedUntil(const json& entry) {
  const auto found = entry.find("pinned_until");
  if (found == entry.end() || !found->is_number()) return "-";
  const auto seconds = static_cast<std::time_t>(found->get<double>());
  if (seconds <= 0) return "-";
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t size = std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &utc);
  return {text, size};
}

std::string Present(const json& blob) {
  const auto size = static_cast<uint64_t>(blob.value("size_bytes", 0.0));
  const auto present = static_cast<uint64_t>(blob.value("present_bytes", 0.0));
  if (present >= size) return FormatByteSize(size);
  return FormatByteSize(present) + " / " + FormatByteSize(size);
}

// "n1 12.0 MiB, n2 4.0 MiB, 2 more"; "-" where it came long ago.
std::string From(const json& blob) {
  constexpr size_t kShown = 3;
  const json sources = blob.value("sources", json::array());
  std::string text;
  for (size_t i = 0; i < std::min(sources.size(), kShown); ++i) {
    text += (text.empty() ? "" : ", ") + Text(sources[i], "name") + " " +
            FormatByteSize(static_cast<uint64_t>(sources[i].value("bytes", 0.0)));
  }
  if (sources.size() > kShown) text += ", " + std::to_string(sources.size() - kShown) + " more";
  return text.empty() ? "-" : text;
}

void Print(const json& answer) {
  std::cout << Text(answer, "reference") << "  " << Text(answer, "digest") << "  "
            << Text(answer, "platform") << "\n";
  std::cout << (answer.value("warm", false) ? "warm" : "not warm") << ", depth "
            << Text(answer, "depth")
            << (answer.value("registered", false) ? ", registered in containerd"
                                                  : ", not registered in containerd")
            << "\n";
  for (const json& reason : answer.value("reasons", json::array())) {
    if (reason.is_string()) std::cout << "  " << reason.get<std::string>() << "\n";
  }
  Table blobs({"BLOB", "KIND", "PRESENT", "COMPLETE", "CLAIMED", "PREHEATED", "PINNED UNTIL",
               "FROM", "REASON"});
  for (const json& blob : answer.value("blobs", json::array())) {
    blobs.Add({ShortDigest(Text(blob, "digest")), Text(blob, "kind"), Present(blob),
               YesNo(blob, "complete"), YesNo(blob, "claimed"), YesNo(blob, "preheated"),
               PinnedUntil(blob), From(blob), Text(blob, "reason")});
  }
  if (!blobs.empty()) std::cout << "\n" << blobs.ToString();
  Table layers({"LAYER (CHAIN ID)", "BLOB", "UNPACKED", "PREHEATED", "PINNED UNTIL", "REASON"});
  for (const json& layer : answer.value("layers", json::array())) {
    layers.Add({ShortDigest(Text(layer, "chain_id")), ShortDigest(Text(layer, "blob")),
                YesNo(layer, "unpacked"), YesNo(layer, "preheated"), PinnedUntil(layer),
                Text(layer, "reason")});
  }
  if (!layers.empty()) std::cout << "\n" << layers.ToString();
}

// "a, b"
std::string Joined(const json& list) {
  std::string text;
  for (const json& word : list) {
    if (word.is_string()) text += (text.empty() ? "" : ", ") + word.get<std::string>();
  }
  return text;
}

void AddSide(Table& table, const std::string& name, const json& side) {
  const json differs = side.value("differs_in", json::array());
  table.Add({name, Text(side, "task_id"), Text(side, "url"), Text(side, "tag"),
             Text(side, "application"), Present(side), YesNo(side, "complete"), Joined(differs)});
}

void PrintFile(const json& answer) {
  std::cout << Text(answer, "reference") << "\n"
            << (answer.value("warm", false) ? "warm" : "not warm");
  const std::string rule = Text(answer, "rule");
  std::cout << (rule.empty() ? ", no proxy rule matches" : ", proxy rule " + rule) << "\n";
  for (const json& reason : answer.value("reasons", json::array())) {
    if (reason.is_string()) std::cout << "  " << reason.get<std::string>() << "\n";
  }
  Table sides(
      {"SIDE", "TASK ID", "URL", "TAG", "APPLICATION", "PRESENT", "COMPLETE", "DIFFERS IN"});
  AddSide(sides, "asked", answer.value("asked", json::object()));
  for (const json& stored : answer.value("stored", json::array())) {
    AddSide(sides, "stored", stored);
  }
  std::cout << "\n" << sides.ToString();
}

}  // namespace

int RunExplain(const Common& common, const ExplainArgs& args) {
  const std::string what = "explain " + args.reference;
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail(what, config.status());
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail(what, client.status());
  std::string target = "/v1/explain?reference=" + net::PercentEncode(args.reference);
  if (!args.platform.empty()) target += "&platform=" + net::PercentEncode(args.platform);
  const auto body = (*client)->Call("GET", target, interrupt.token());
  if (interrupt.happened()) return kInterrupted;
  if (!body.ok()) return Fail(what, body.status());
  try {
    const json answer = json::parse(*body);
    if (common.json) {
      std::cout << answer.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
    } else if (!common.quiet) {
      Text(answer, "kind") == "file" ? PrintFile(answer) : Print(answer);
    }
    return answer.at("warm").get<bool>() ? kDone : kNotThere;
  } catch (const json::exception& error) {
    return Fail(what, Internal(std::string("the node's answer cannot be read: ") + error.what() +
                               " (are node and command of one version?)"));
  }
}

}  // namespace hearth::cmd
