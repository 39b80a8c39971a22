#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cmd/admin_client.h"
#include "cmd/commands.h"
#include "cmd/interrupt.h"
#include "cmd/live_lines.h"
#include "cmd/output_file.h"
#include "cmd/preheat_progress.h"
#include "net/http.h"

namespace hearth::cmd {

namespace {

using nlohmann::json;

constexpr size_t kBarCells = 24;

struct Fetched {
  Digest digest;
  uint64_t size_bytes = 0;
  std::string task_id;
  bool already_here = false;
  double seconds = 0;
};

std::string Text(const json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string ProgressLine(const json& event) {
  const auto done = static_cast<uint64_t>(event.value("bytes_done", 0.0));
  std::string line = FormatByteSize(done);
  if (event.contains("bytes_total") && event["bytes_total"].is_number()) {
    const auto total = static_cast<uint64_t>(event["bytes_total"].get<double>());
    line = Bar(done, total, kBarCells) + "  " + line + " / " + FormatByteSize(total);
  }
  return line + "  " + FormatRate(event.value("bytes_per_second", 0.0));
}

// The node fetches the file into its store.
Result<Fetched> FetchIntoStore(const Common& common, const GetArgs& args, AdminClient& client,
                               std::stop_token stop) {
  json headers = json::object();
  for (const std::string& header : args.headers) {
    const size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0) {
      return InvalidArgument("--header \"" + header +
                             "\" is no header (write it as \"Name: value\")");
    }
    const size_t value = header.find_first_not_of(' ', colon + 1);
    headers[header.substr(0, colon)] = value == std::string::npos ? "" : header.substr(value);
  }
  const json body = {{"url", args.url}, {"digest", args.digest}, {"headers", headers}};
  LiveLines lines(STDERR_FILENO, !common.quiet && !common.json);
  std::optional<Fetched> fetched;
  const auto take = [&](std::string_view line) -> Status {
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) return Internal("not an event: " + std::string(line));
    const std::string kind = Text(event, "event");
    if (kind == "progress") lines.Draw({ProgressLine(event)});
    if (kind == "failed") return ErrorFromAnswer(500, line);
    if (kind == "done") {
      fetched = Fetched{.digest = TRY(Digest::Parse(Text(event, "digest"))),
                        .size_bytes = static_cast<uint64_t>(event.value("size_bytes", 0.0)),
                        .task_id = Text(event, "task_id"),
                        .already_here = event.value("already_here", false),
                        .seconds = event.value("seconds", 0.0)};
    }
    return OkStatus();
  };
  const Status status = client.Stream(
      "/v1/get", body.dump(-1, ' ', false, json::error_handler_t::replace), take, stop);
  lines.Clear();
  TRY_STATUS(status);
  if (!fetched) return Unavailable("the node ended its answer early (see its log)");
  return *fetched;
}

Status CopyToStdout(AdminClient& client, const Fetched& fetched, std::stop_token stop) {
  return client.Download(
      "/v1/blobs/" + fetched.digest.ToString(), 0,
      [](std::string_view data) -> Status {
        while (!data.empty()) {
          const ssize_t n = write(STDOUT_FILENO, data.data(), data.size());
          if (n < 0 && errno == EINTR) continue;
          if (n < 0) return ErrnoStatus(errno, "write to stdout");
          data.remove_prefix(static_cast<size_t>(n));
        }
        return OkStatus();
      },
      stop);
}

// Out of the store into `path`, going on where an earlier run stopped.
Status CopyToFile(AdminClient& client, const Fetched& fetched, const std::string& path,
                  std::stop_token stop) {
  OutputFile file = TRY(OutputFile::Open(path, fetched.size_bytes));
  const bool resumed = file.offset_bytes() > 0;
  const auto fetch_rest = [&]() -> Status {
    if (file.offset_bytes() < fetched.size_bytes) {
      TRY_STATUS(client.Download(
          "/v1/blobs/" + fetched.digest.ToString(), file.offset_bytes(),
          [&file](std::string_view data) { return file.Append(data); }, stop));
    }
    return file.Finish(fetched.digest);
  };
  const Status status = fetch_rest();
  // A part that was of another file: once more from the start.
  if (status.code() == StatusCode::kDataLoss && resumed) return fetch_rest();
  return status;
}

// Last part of the URL's path.
Result<std::string> FileNameOf(const std::string& url) {
  std::string path = url.substr(0, url.find_first_of("?#"));
  const size_t scheme = path.find("://");
  const size_t slash = path.rfind('/');
  if (scheme != std::string::npos && slash > scheme + 2 && slash + 1 < path.size()) {
    return path.substr(slash + 1);
  }
  return InvalidArgument("the URL names no file (say where to with -o FILE)");
}

}  // namespace

int RunGet(const Common& common, const GetArgs& args) {
  const std::string what = "get " + args.url;
  const Interrupt interrupt;
  const auto config = LoadConfig(common);
  if (!config.ok()) return Fail(what, config.status());
  std::string output = args.output_file;
  if (output.empty()) {
    const auto name = FileNameOf(args.url);
    if (!name.ok()) return Fail(what, name.status());
    output = *name;
  }
  const auto client = AdminClient::Create(config->AdminSocket());
  if (!client.ok()) return Fail(what, client.status());

  const auto fetched = FetchIntoStore(common, args, **client, interrupt.token());
  Status status = fetched.status();
  if (status.ok()) {
    status = output == "-" ? CopyToStdout(**client, *fetched, interrupt.token())
                           : CopyToFile(**client, *fetched, output, interrupt.token());
  }
  if (interrupt.happened()) {
    std::cerr << "hearth: " << what
              << ": interrupted (what is present stays; run it again to go on)\n";
    return kInterrupted;
  }
  if (!status.ok()) return Fail(what, status);
  if (output == "-") return kDone;
  if (common.json) {
    std::cout << json{{"url", args.url},
                      {"file", output},
                      {"task_id", fetched->task_id},
                      {"digest", fetched->digest.ToString()},
                      {"size_bytes", fetched->size_bytes},
                      {"already_here", fetched->already_here},
                      {"seconds", fetched->seconds}}
                     .dump(2, ' ', false, json::error_handler_t::replace)
              << "\n";
  } else if (!common.quiet) {
    std::cout << output << ": " << FormatByteSize(fetched->size_bytes) << ", "
              << fetched->digest.ToString()
              << (fetched->already_here ? ", was in the store already" : "") << "\n";
  }
  return kDone;
}

}  // namespace hearth::cmd
