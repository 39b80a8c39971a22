#include "manager/job_request.h"

#include <algorithm>
#include <set>

#include "base/ascii.h"
#include "base/units.h"
#include "manager/job_url.h"
#include "manager/json_body.h"
#include "oci/platform.h"
#include "oci/reference.h"
#include "oci/shown_url.h"
#include "oci/task_url.h"

namespace hearth::manager {

namespace {

constexpr uint64_t kMinPieceLength = 4ull << 20;
constexpr uint64_t kMaxPieceLength = 1024ull << 20;
constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxBioBytes = 1000;
constexpr size_t kMaxPlatforms = 16;
constexpr size_t kMaxLabels = 64;
constexpr uint64_t kMaxParallelItems = 100;
// An order for a node fits into a message with these.
constexpr size_t kMaxItemsBytes = 128 << 10;
constexpr size_t kMaxHeadersBytes = 32 << 10;

struct Reader {
  JsonBody& args;
  const JobRequest::Context& context;
  JobRequest& out;

  void Labels();
  void Platforms();
  void Scope();
  void Pace();
  void Pin();
  void Standing();
  void Timeout();
  void Login();
  void Unserved();
  void Headers();
  void Items();
  void AddImage(const std::string& text, const char* field);
  void AddFile(const std::string& text, const char* field);
  void CheckOneHost();
  void Number(const char* name, uint64_t most, uint32_t& number);
};

void Limited(JsonBody& body, const char* name, std::string& text, size_t most = kMaxTextBytes) {
  body.Text(name, text);
  if (text.size() > most) body.Reject(name, "is longer than " + std::to_string(most) + " bytes");
}

void Reader::Number(const char* name, uint64_t most, uint32_t& number) {
  std::optional<uint64_t> value;
  args.Integer(name, value);
  if (!value || *value == 0) return;
  if (*value > most) return args.Reject(name, "must be 1 to " + std::to_string(most));
  number = static_cast<uint32_t>(*value);
}

// What is hashed into task IDs.
void Reader::Labels() {
  Limited(args, "tag", out.spec.tag);
  Limited(args, "application", out.spec.application);
  Limited(args, "filter", out.spec.filter);  // until v2.1.30
  Limited(args, "filtered_query_params", out.spec.filter);
  std::optional<uint64_t> piece_length;
  args.Integer("piece_length", piece_length);
  if (!piece_length || *piece_length == 0) return;
  if (*piece_length < kMinPieceLength || *piece_length > kMaxPieceLength) {
    return args.Reject("piece_length", "must be 4194304 to 1073741824 bytes (4 MiB to 1024 MiB)");
  }
  out.spec.piece_length = *piece_length;
}

void Reader::Platforms() {
  for (const char* field : {"platform", "platforms"}) {
    std::vector<std::string> names;
    args.TextOrTexts(field, names);
    if (names.size() > kMaxPlatforms) return args.Reject(field, "are more than 16");
    if (!names.empty()) out.spec.platforms.clear();
    for (const std::string& name : names) {
      const auto platform = oci::Platform::Parse(name);
      if (!platform.ok()) return args.Reject(field, platform.status().message());
      out.spec.platforms.push_back(platform->ToString());
    }
  }
  args.Text("depth", out.spec.depth);
  const std::string& depth = out.spec.depth;
  if (depth.empty()) return;
  const bool file = out.spec.kind == JobKind::kFile;
  if (depth != "blobs" && (file || (depth != "layers" && depth != "image"))) {
    args.Reject("depth", file ? "a file's is blobs" : "must be blobs, layers or image");
  }
}

void Reader::Scope() {
  std::string scope;
  args.Text("scope", scope);
  if (!scope.empty()) {
    const auto parsed = ParseJobScope(scope);
    if (parsed.ok()) {
      out.spec.scope = *parsed;
    } else {
      args.Reject("scope", parsed.status().message());
    }
  }
  args.Texts("nodes", out.spec.nodes);
  args.Texts("ips", out.spec.ips);
  args.TextMap("node_labels", out.spec.node_labels);
  if (out.spec.nodes.size() > JobRequest::kMaxListed) args.Reject("nodes", "are too many");
  if (out.spec.ips.size() > JobRequest::kMaxListed) args.Reject("ips", "are too many");
  if (out.spec.node_labels.size() > kMaxLabels) args.Reject("node_labels", "are more than 64");
  Number("count", JobRequest::kMaxListed, out.spec.count);
  Number("percentage", 100, out.spec.percentage);
}

void Reader::Pace() {
  // Each release had its own name for it.
  for (const char* name : {"concurrent_count", "concurrent_peer_count", "concurrency"}) {
    Number(name, JobRequest::kMaxListed, out.spec.concurrency);
  }
  Number("concurrent_task_count", kMaxParallelItems, out.spec.parallel_items);
  Number("retry", JobRequest::kMaxRetries, out.spec.retries);
  Timeout();
  Standing();
  Pin();
  Number("priority", JobRequest::kMaxPriority, out.spec.priority);
  args.Flag("dry_run", out.spec.dry_run);
  if (out.spec.dry_run && out.spec.keep) args.Reject("keep", "is of preheats, not of a dry run");
  if (out.spec.dry_run && out.spec.kind == JobKind::kFile) {
    args.Reject("dry_run", "is of images: how large a file is, is known when it is fetched");
  }
  std::string tolerate;
  args.Scalar("failure_tolerate", tolerate);
  if (tolerate.empty()) return;
  const auto share = FailureTolerance::Parse(tolerate);
  if (!share.ok()) return args.Reject("failure_tolerate", share.status().message());
  out.spec.failure_tolerate = *share;
}

// Two names for one: kept at least so long.
void Reader::Pin() {
  for (const char* name : {"pin", "ttl"}) {
    std::string text;
    args.Scalar(name, text);
    if (text.empty() || text == "0") continue;
    const auto life = ParseDuration(text);
    if (!life.ok() || *life <= std::chrono::nanoseconds(0)) {
      args.Reject(name, "must be a duration as \"24h\"");
      continue;
    }
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(*life);
    if (out.spec.pin.count() > 0 && out.spec.pin != seconds) {
      args.Reject(name, "is another name of pin, which says otherwise");
    }
    out.spec.pin = seconds;
  }
}

void Reader::Standing() {
  args.Flag("keep", out.spec.keep);
  std::string refresh;
  args.Scalar("refresh", refresh);
  if (!out.spec.keep) {
    if (!refresh.empty()) args.Reject("refresh", "is of a standing preheat (\"keep\": true)");
    return;
  }
  out.spec.refresh = JobRequest::kDefaultRefresh;
  if (refresh.empty()) return;
  const auto time = ParseDuration(refresh);
  if (!time.ok() || *time < JobRequest::kMinRefresh || *time > JobRequest::kMaxRefresh) {
    return args.Reject("refresh", "must be a duration from \"1m\" to \"30d\"");
  }
  out.spec.refresh = std::chrono::duration_cast<std::chrono::seconds>(*time);
}

// A number is Go's Duration, in nanoseconds.
void Reader::Timeout() {
  std::string text;
  args.Scalar("timeout", text);
  if (text.empty() || text == "0") return;
  auto time = ParseDuration(text);
  if (const auto nanos = ParseDecimal(text)) {
    time = std::chrono::nanoseconds(
        static_cast<int64_t>(std::min<uint64_t>(*nanos, std::numeric_limits<int64_t>::max())));
  }
  if (!time.ok() || *time < std::chrono::seconds(1) || *time > JobRequest::kMaxTimeout) {
    return args.Reject("timeout", "must be 1 second to 7 days: nanoseconds, or a text as \"30m\"");
  }
  out.spec.timeout = std::chrono::duration_cast<std::chrono::milliseconds>(*time);
}

void Reader::Unserved() {
  const auto refuse = [this](const char* name, const char* why) {
    if (args.Says(name)) args.Reject(name, why);
  };
  refuse("object_storage", "object stores are not read here (use their signed http URLs)");
  refuse("hdfs", "HDFS is not read here (use its http URLs)");
  refuse("load_to_cache", "there is no cache beside the store here (leave it out)");
  refuse("content_for_calculating_task_id", "content is known by its digest here (leave it out)");
  refuse("enable_task_id_based_blob_digest",
         "blobs are always kept by digest here, and shown by the URL's task ID (leave it out)");
}

void Reader::Headers() {
  std::map<std::string, std::string> headers;
  args.TextMap("headers", headers);
  if (headers.size() > JobRequest::kMaxHeaders) args.Reject("headers", "are more than 64");
  bool authorized = false;
  size_t bytes = 0;
  for (const auto& [name, value] : headers) {
    bytes += name.size() + value.size();
    if (bytes > kMaxHeadersBytes) return args.Reject("headers", "are more than 32 KiB");
    if (!IsHeaderName(name) || !IsHeaderValue(value)) {
      return args.Reject("headers", "a name or value is none that HTTP can send");
    }
    const std::string lower = AsciiLower(name);
    authorized = authorized || lower == "authorization";
    if (out.spec.kind == JobKind::kImage && lower != "authorization") {
      return args.Reject("headers", "of an image only Authorization is sent");
    }
    if (IsHopHeader(lower)) {
      return args.Reject("headers", "the connection's own ones cannot be set");
    }
    out.secrets.headers.emplace_back(name, value);
    out.spec.header_names.push_back(name);
  }
  if (context.origin_authorization.empty()) return;
  if (authorized) {
    return args.Reject("headers", "has an Authorization, and the request has a second one");
  }
  if (out.spec.kind == JobKind::kImage) {
    return args.Reject("headers",
                       "the request has two Authorization headers; an image's goes in here");
  }
  if (!IsHeaderValue(context.origin_authorization)) {
    return args.Reject("headers", "the second Authorization is none that HTTP can send");
  }
  out.secrets.headers.emplace_back("Authorization", context.origin_authorization);
  out.spec.header_names.emplace_back("Authorization");
}

void Reader::Login() {
  Limited(args, "username", out.secrets.username);
  Limited(args, "password", out.secrets.password);
  if (out.secrets.username.empty() && !out.secrets.password.empty()) {
    args.Reject("username", "is missing beside the password");
  }
}

// None, or one that there can be.
bool HasGoodPort(const std::string& host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string::npos || host.find(']', colon) != std::string::npos) return true;
  const auto port = ParseDecimal(std::string_view(host).substr(colon + 1));
  return colon + 1 == host.size() || (port && *port > 0 && *port <= 65535);
}

void Reader::AddImage(const std::string& text, const char* field) {
  if (text.size() > JobRequest::kMaxReferenceBytes) {
    return args.Reject(field, "is longer than 1024 bytes");
  }
  auto item = ParseImageUrl(text);
  if (!item.ok()) return args.Reject(field, item.status().message());
  out.spec.items.push_back(*std::move(item));
}

void Reader::AddFile(const std::string& text, const char* field) {
  if (text.size() > JobRequest::kMaxUrlBytes) {
    return args.Reject(field, "is longer than 8192 bytes");
  }
  const std::string host = UrlHost(text);
  if (!oci::IsFileUrl(text) || host.empty() || host.starts_with(':')) {
    return args.Reject(field, "a file's begins with http:// or https:// and has a host");
  }
  if (!HasGoodPort(host)) return args.Reject(field, "has a port that is none");
  const auto task_id = TaskIdOf(out.spec, text);
  if (!task_id.ok()) return args.Reject(field, task_id.status().message());
  JobItem item;
  item.url = oci::WithoutSecrets(text, oci::ParseFilteredQueryParams(out.spec.filter));
  item.task_id = *task_id;
  out.secrets.urls.push_back(text);
  out.spec.items.push_back(std::move(item));
}

void Reader::Items() {
  std::string url;
  args.Text("url", url);
  std::vector<std::string> urls;
  args.Texts("urls", urls);
  std::vector<std::string> images;
  args.Texts("images", images);
  const bool image = out.spec.kind == JobKind::kImage;
  if (!image && !images.empty()) return args.Reject("images", "are of type image, not file");
  if (urls.size() + images.size() > JobRequest::kMaxItems) {
    return args.Reject(images.size() > urls.size() ? "images" : "urls", "are more than 256");
  }
  size_t bytes = 0;
  const auto add = [&](const std::string& text, const char* field) {
    bytes += text.size();
    if (bytes > kMaxItemsBytes) return args.Reject(field, "are more than 128 KiB together");
    image ? AddImage(text, field) : AddFile(text, field);
  };
  if (!url.empty()) add(url, "url");
  for (const std::string& one : urls) add(one, "urls");
  for (const std::string& one : images) add(one, "images");
  if (url.empty() && urls.empty() && images.empty()) {
    args.Reject("url", image ? "is missing (a manifest's URL, or an image's name)" : "is missing");
  }
}

// A secret goes to the host that it was given for.
void Reader::CheckOneHost() {
  const bool secret = !out.secrets.username.empty() || !out.secrets.headers.empty();
  std::set<std::string> hosts;
  for (size_t i = 0; i < out.spec.items.size(); ++i) {
    const JobItem& item = out.spec.items[i];
    hosts.insert(AsciiLower(UrlHost(item.base_url.empty() ? item.url : item.base_url)));
  }
  if (secret && hosts.size() > 1) {
    args.Reject(out.secrets.headers.empty() ? "username" : "headers",
                "the items are on several hosts, and this is for one (make a job for each)");
  }
}

Status CheckAllowed(const JobRequest& request, const std::vector<std::string>& allowed) {
  for (const JobItem& item : request.spec.items) {
    const std::string host = UrlHost(item.base_url.empty() ? item.url : item.base_url);
    if (!HostMatches(host, allowed)) {
      return PermissionDenied("host " + host + " is not among [preheat] allow of the manager");
    }
  }
  return OkStatus();
}

void ReadArgs(JsonBody& args, const JobRequest::Context& context, JobRequest& request) {
  std::string type;
  args.Text("type", type);
  const auto kind = ParseJobKind(type);
  if (kind.ok()) {
    request.spec.kind = *kind;
  } else {
    args.Reject("type", type.empty() ? "is missing (image or file)" : kind.status().message());
  }
  Reader reader{args, context, request};
  reader.Labels();
  reader.Platforms();
  reader.Scope();
  reader.Pace();
  reader.Login();
  reader.Headers();
  reader.Items();
  reader.CheckOneHost();
  reader.Unserved();
}

}  // namespace

Result<JobItem> ParseImageUrl(const std::string& text) {
  JobItem item;
  item.url = text;
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos) {
    const auto reference = TRY(oci::Reference::Parse(text));
    item.reference = reference.ToString();
    item.base_url = std::string(oci::DefaultScheme(reference.domain)) + "://" +
                    oci::RegistryApiHost(reference.domain) + "/v2/" + reference.path;
    return item;
  }
  constexpr std::string_view kVersion = "/v2/";
  constexpr std::string_view kManifests = "/manifests/";
  const std::string name = AsciiLower(text.substr(0, scheme));
  const size_t host_begin = scheme + 3;
  const size_t host_end = text.find('/', host_begin);
  const size_t object = text.rfind(kManifests);
  const auto wrong = [] {
    return InvalidArgument(
        "expected https://HOST/v2/NAME/manifests/TAG_OR_DIGEST, or an image's name");
  };
  if ((name != "http" && name != "https") || host_end == std::string::npos ||
      text.compare(host_end, kVersion.size(), kVersion) != 0 || object == std::string::npos ||
      object < host_end + kVersion.size() || text.find_first_of("?#", host_begin) < text.size()) {
    return wrong();
  }
  const std::string host = text.substr(host_begin, host_end - host_begin);
  if (host.find('@') != std::string::npos) {
    return InvalidArgument("a user in the URL is not read (use username and password)");
  }
  const size_t path_begin = host_end + kVersion.size();
  const std::string path = text.substr(path_begin, object - path_begin);
  const std::string tag = text.substr(object + kManifests.size());
  if (!oci::IsRegistryDomain(host) || !oci::IsRepositoryPath(path)) return wrong();
  const bool digest = tag.find(':') != std::string::npos;
  if (!digest && !oci::IsTag(tag)) return wrong();
  const auto reference = TRY(
      oci::Reference::Parse(oci::NormalizeDomain(host) + "/" + path + (digest ? "@" : ":") + tag));
  item.reference = reference.ToString();
  item.base_url = text.substr(0, object);
  item.plain_http = name == "http";
  return item;
}

Result<JobRequest> JobRequest::Parse(std::string_view body, const Context& context) {
  auto top = TRY(JsonBody::Parse(body));
  JobRequest request;
  Limited(top, "bio", request.bio, kMaxBioBytes);
  std::string type;
  top.Text("type", type);
  if (type != "preheat") top.Reject("type", "must be \"preheat\"");
  if (top.Says("user_id")) {
    top.Reject("user_id", "there are no users here: the token says who asks (leave it out)");
  }
  if (top.Says("seed_peer_cluster_ids")) {
    top.Reject("seed_peer_cluster_ids",
               "seed peers are the nodes labelled seed=true (leave it out)");
  }
  std::vector<uint64_t> clusters;
  top.Integers("scheduler_cluster_ids", clusters);
  auto args = top.Object("args");
  if (args) {
    ReadArgs(*args, context, request);
  } else {
    top.Reject("args", "are missing");
  }
  TRY_STATUS(top.Finish());
  TRY_STATUS(args->Finish());
  for (const uint64_t id : clusters) {
    request.spec.clusters.push_back(
        TRY(context.cluster_name(id).Annotate("scheduler_cluster_ids")));
  }
  TRY_STATUS(CheckAllowed(request, context.allowed_hosts));
  return request;
}

}  // namespace hearth::manager
