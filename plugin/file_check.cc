#include "plugin/file_check.h"

#include <algorithm>
#include <utility>

#include "plugin/http_stream.h"

namespace hearth::plugin {

namespace {

bool SameSize(const FileVersion& a, const FileVersion& b) {
  return !a.size_bytes || !b.size_bytes || *a.size_bytes == *b.size_bytes;
}

}  // namespace

net::HttpHeaders WithoutConditions(net::HttpHeaders headers) {
  for (const char* name : {"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since",
                           "If-Unmodified-Since", "Accept-Encoding"}) {
    headers.Remove(name);
  }
  return headers;
}

net::HttpResponse ReadRefusal(HttpStream& stream) {
  net::HttpResponse refusal;
  refusal.status = stream.head().status;
  refusal.headers = stream.head().headers;
  refusal.effective_url = stream.head().effective_url;
  while (refusal.body.size() < kMaxRefusalBytes) {
    auto data = stream.Read();
    if (!data.ok() || data->empty()) break;
    refusal.body += data->substr(0, kMaxRefusalBytes - refusal.body.size());
  }
  return refusal;
}

Result<FileCheck> FileCheck::Ask(const Options& options, const std::string& method,
                                 const std::string& url, const net::HttpHeaders& headers,
                                 const FileVersion& known, std::stop_token stop) {
  net::HttpRequest request;
  request.method = method;
  request.url = url;
  request.headers = WithoutConditions(headers);
  request.max_redirects = options.max_redirects;
  request.stall_timeout = options.stall_timeout;
  request.total_timeout = net::kDocumentTimeout;
  if (!known.etag.empty()) {
    request.headers.Set("If-None-Match", known.etag);
  } else if (!known.last_modified.empty()) {
    request.headers.Set("If-Modified-Since", known.last_modified);
  }
  if (method == "GET") request.headers.Set("Range", "bytes=0-0");

  const auto stream = TRY(HttpStream::Open(options.client, std::move(request), std::move(stop)));
  const net::HttpResponseHead& head = stream->head();
  FileCheck check;
  const bool asked_conditionally = !known.etag.empty() || !known.last_modified.empty();
  if (head.status == 304 && asked_conditionally) {
    check.verdict = Verdict::kSame;
  } else if (head.status == 416 && method == "GET") {
    check.verdict = FileVersion::OfEmpty(head).Matches(known) ? Verdict::kSame : Verdict::kChanged;
  } else if (head.status == 200 || head.status == 206) {
    const auto version = FileVersion::Of(head, 0);
    const bool same = version.ok() && (options.named_by_digest ? SameSize(*version, known)
                                                               : version->Matches(known));
    check.verdict = same ? Verdict::kSame : Verdict::kChanged;
  } else {
    check.refusal = ReadRefusal(*stream);
  }
  return check;
}

}  // namespace hearth::plugin
