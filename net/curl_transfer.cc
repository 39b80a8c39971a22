#include "net/curl_transfer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdlib>

#include "base/ascii.h"
#include "net/proxy.h"

namespace hearth::net {

namespace {

// What says how to answer, and nothing of who asks: any other field may be a secret for the host
// that it was given for.
HttpHeaders ForAnyHost(const HttpHeaders& headers) {
  constexpr std::string_view kNames[] = {"accept",
                                         "accept-encoding",
                                         "accept-language",
                                         "cache-control",
                                         "content-type",
                                         "if-match",
                                         "if-modified-since",
                                         "if-none-match",
                                         "if-range",
                                         "if-unmodified-since",
                                         "pragma",
                                         "range",
                                         "user-agent"};
  HttpHeaders kept;
  for (const auto& [name, value] : headers.fields()) {
    if (std::ranges::find(kNames, AsciiLower(name)) != std::end(kNames)) kept.Add(name, value);
  }
  return kept;
}

constexpr size_t kMaxResponseHeaderBytes = 256 * 1024;
constexpr uint64_t kMaxRedirectBodyBytes = 64 * 1024;
// libcurl keeps the parsed trust store; a replaced file counts after this time.
constexpr long kTrustStoreSeconds = 60;

using UrlHandle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string UrlPart(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string value(text);
  curl_free(text);
  return value;
}

Result<Origin> ParseOrigin(const std::string& text) {
  const UrlHandle url(curl_url(), curl_url_cleanup);
  const CURLUcode error = curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0);
  if (error != CURLUE_OK || text.find('\0') != std::string::npos) {
    return InvalidArgument(std::string("URL cannot be used: ") + curl_url_strerror(error));
  }
  Origin origin{UrlPart(url.get(), CURLUPART_SCHEME), UrlPart(url.get(), CURLUPART_HOST),
                UrlPart(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT),
                UrlPart(url.get(), CURLUPART_PATH)};
  for (char& c : origin.host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (origin.scheme != "http" && origin.scheme != "https") {
    return InvalidArgument("URL with scheme \"" + origin.scheme + "\": want http or https");
  }
  return origin;
}

// `location` as seen from `base`, without a fragment; "" when it makes no URL.
std::string ResolveLocation(const std::string& base, std::string_view location) {
  const UrlHandle url(curl_url(), curl_url_cleanup);
  if (curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) return "";
  const std::string target(location);
  if (curl_url_set(url.get(), CURLUPART_URL, target.c_str(), CURLU_URLENCODE) != CURLUE_OK) {
    return "";
  }
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return UrlPart(url.get(), CURLUPART_URL);
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

bool IsEncoded(const HttpHeaders& headers) {
  const std::string_view coding = headers.Get("Content-Encoding");
  return !coding.empty() && coding != "identity";
}

bool IsRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string Milliseconds(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

template <typename T>
void Set(CURL* easy, CURLoption option, T value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  CHECK(code == CURLE_OK);
}

}  // namespace

Status CheckRequest(const HttpRequest& request) {
  if (request.method.empty() || HasControlCharacter(request.method)) {
    return InvalidArgument("HTTP method is empty or has control characters");
  }
  for (const auto& [name, value] : request.headers.fields()) {
    if (name.empty() || HasControlCharacter(name) || HasControlCharacter(value) ||
        name.find(':') != std::string::npos) {
      return InvalidArgument("header \"" + name + "\" cannot be sent as it is");
    }
  }
  const Origin origin = TRY(ParseOrigin(request.url));
  if (request.tls && (origin.scheme != "https" || request.max_redirects > 0)) {
    return InvalidArgument("a request with a certificate of ours wants https and no redirects");
  }
  return OkStatus();
}

void CurlTransfer::Resume() { mailbox->Post({CurlCommand::What::kResume, shared_from_this()}); }
void CurlTransfer::Cancel() { mailbox->Post({CurlCommand::What::kCancel, shared_from_this()}); }

// --- pace ---

void CurlTransfer::GoOn() {
  paused = false;
  window_began_.reset();  // who could not take more was not kept waiting
  Progress();
}

std::chrono::milliseconds CurlTransfer::StallLimit() const {
  const bool in_body = head_complete_ && !redirecting_ && request.body_stall_timeout.count() > 0;
  return in_body ? request.body_stall_timeout : request.stall_timeout;
}

Status CurlTransfer::CheckTotal(SteadyTime now, SteadyTime& due) const {
  if (request.total_timeout.count() == 0) return OkStatus();
  const SteadyTime end = began_ + request.total_timeout;
  due = std::min(due, end);
  if (now < end) return OkStatus();
  return DeadlineExceeded(Describe() + ": the answer was not whole after " +
                          Milliseconds(request.total_timeout));
}

Status CurlTransfer::CheckWait(SteadyTime now, std::chrono::milliseconds limit,
                               SteadyTime& due) const {
  TRY_STATUS(CheckTotal(now, due));
  due = std::min(due, began_ + limit);
  if (now < began_ + limit) return OkStatus();
  return ResourceExhausted(Describe() + ": no connection became free");
}

Status CurlTransfer::CheckPace(SteadyTime now, SteadyTime& due) {
  TRY_STATUS(CheckTotal(now, due));
  if (paused) return OkStatus();
  const SteadyTime stalled = last_progress_ + StallLimit();
  due = std::min(due, stalled);
  if (now >= stalled) {
    return DeadlineExceeded(Describe() + ": no byte came for " + Milliseconds(StallLimit()));
  }
  if (request.low_speed_window.count() == 0) return OkStatus();
  if (window_began_ && now >= *window_began_ + request.low_speed_window) {
    if (window_bytes_ < request.low_speed_bytes) {
      return DeadlineExceeded(Describe() + ": only " + std::to_string(window_bytes_) +
                              " bytes came in " + Milliseconds(request.low_speed_window) +
                              ", which is too slow to wait for");
    }
    window_began_.reset();
  }
  if (!window_began_) {
    window_began_ = now;
    window_bytes_ = 0;
  }
  due = std::min(due, *window_began_ + request.low_speed_window);
  return OkStatus();
}

Status CurlTransfer::PrepareHop(const HttpClient::Options& options) {
  options_ = &options;
  origin_ = TRY(ParseOrigin(request.url));
  head_ = {};
  head_.effective_url = request.url;
  header_bytes_ = redirect_body_bytes_ = 0;
  head_complete_ = redirecting_ = address_tried_ = false;
  bytes_seen_ = 0;
  refused_ = OkStatus();
  if (easy == nullptr) easy = curl_easy_init();
  CHECK(easy != nullptr);
  curl_easy_reset(easy);
  Set(easy, CURLOPT_URL, request.url.c_str());
  Set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  Set(easy, CURLOPT_NOSIGNAL, 1L);
  Set(easy, CURLOPT_ERRORBUFFER, error_text_);
  Set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  Set(easy, CURLOPT_BUFFERSIZE, static_cast<long>(options.receive_buffer_bytes));
  // A paused HTTP/2 stream would hold its whole window (tens of MiB) in memory.
  Set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  Set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  Set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  Set(easy, CURLOPT_FRESH_CONNECT, request.fresh_connection ? 1L : 0L);
  Set(easy, CURLOPT_FORBID_REUSE, request.fresh_connection ? 1L : 0L);
  Set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  // With it libcurl decodes whatever it can, asked for or not.
  if (request.decode) Set(easy, CURLOPT_ACCEPT_ENCODING, "identity");
  // Cancelling must not wait for a name that is still being looked up.
  Set(easy, CURLOPT_QUICK_EXIT, 1L);
  Set(easy, CURLOPT_CA_CACHE_TIMEOUT, kTrustStoreSeconds);
  request.tls ? SetIdentity() : SetTrust();
  SetConnectTo();
  std::string proxy;
  if (!request.unix_socket.empty()) {
    Set(easy, CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
  } else if (!request.tls) {
    proxy = ProxyFor(origin_.scheme, origin_.host, origin_.port, ProcessEnvironment());
  }
  // Said even when empty: libcurl must not read the environment by its own rules.
  Set(easy, CURLOPT_PROXY, proxy.c_str());
  Set(easy, CURLOPT_NOPROXY, "");
  SetMethod();
  SetHeaders(options.user_agent);
  SetCallbacks();
  proxied_ = !proxy.empty();
  if (proxied_) TRY_STATUS(CheckProxiedHost());
  Progress();
  return OkStatus();
}

// Without a file of its own: the system's trust store, as libcurl was built for it. libcurl itself
// does not read the variables by which OpenSSL and Go programs, containerd too, are told another.
void CurlTransfer::SetTrust() {
  if (!request.ca_file.empty()) {
    Set(easy, CURLOPT_CAINFO, request.ca_file.c_str());
    Set(easy, CURLOPT_CAPATH, nullptr);
    return;
  }
  const Environment environment = ProcessEnvironment();
  const std::string file = environment("SSL_CERT_FILE");
  const std::string directory = environment("SSL_CERT_DIR");
  if (!file.empty()) Set(easy, CURLOPT_CAINFO, file.c_str());
  if (!directory.empty()) Set(easy, CURLOPT_CAPATH, directory.c_str());
}

// libcurl keeps a connection for requests to the same host with the same certificates: what
// `peer_uri` says has to be in the URL's host too.
void CurlTransfer::SetIdentity() {
  const auto blob = [](const std::string& pem) {
    // Not copied: `request` outlives the handle's use of it.
    return curl_blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
  };
  const curl_blob certificate = blob(request.tls->certificate_pem);
  const curl_blob key = blob(request.tls->key_pem);
  const curl_blob ca = blob(request.tls->ca_pem);
  Set(easy, CURLOPT_SSLCERT_BLOB, &certificate);
  Set(easy, CURLOPT_SSLKEY_BLOB, &key);
  Set(easy, CURLOPT_CAINFO_BLOB, &ca);
  Set(easy, CURLOPT_CAPATH, nullptr);
  Set(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  Set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_3));
  Set(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
  using OnContext = CURLcode (*)(CURL*, void*, void*);
  const OnContext on_context = [](CURL*, void* context, void* self) {
    ExpectPeer(static_cast<ssl_ctx_st*>(context),
               &static_cast<CurlTransfer*>(self)->request.peer_uri);
    return CURLE_OK;
  };
  Set(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
  Set(easy, CURLOPT_SSL_CTX_DATA, this);
}

void CurlTransfer::SetConnectTo() {
  if (request.connect_to.empty()) return;
  curl_slist_free_all(connect_to_);
  connect_to_ = curl_slist_append(nullptr, ("::" + request.connect_to).c_str());
  CHECK(connect_to_ != nullptr);
  Set(easy, CURLOPT_CONNECT_TO, connect_to_);
}

// The proxy makes the connection, so only the target's name can be judged here.
Status CurlTransfer::CheckProxiedHost() const {
  if (!options_->check_address) return OkStatus();
  sockaddr_storage address{};  // AF_UNSPEC unless the name is an address
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
  std::string name = origin_.host;
  if (name.starts_with('[')) name = name.substr(1, name.size() - 2);
  if (::inet_pton(AF_INET, name.c_str(), &v4->sin_addr) == 1) {
    address.ss_family = AF_INET;
  } else if (::inet_pton(AF_INET6, name.c_str(), &v6->sin6_addr) == 1) {
    address.ss_family = AF_INET6;
  }
  // At the same place in both, and read there for a mere name too.
  v4->sin_port = htons(static_cast<uint16_t>(std::atoi(origin_.port.c_str())));
  const Status allowed =
      options_->check_address(origin_.host, reinterpret_cast<const sockaddr&>(address));
  if (allowed.ok()) return OkStatus();
  return PermissionDenied(allowed.message()).Annotate(origin_.ToString());
}

void CurlTransfer::SetMethod() {
  const std::string& method = request.method;
  if (method == "HEAD") {
    Set(easy, CURLOPT_NOBODY, 1L);
    return;
  }
  if (!request.body.empty() || method == "POST" || method == "PUT" || method == "PATCH") {
    Set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    Set(easy, CURLOPT_POSTFIELDS, request.body.data());
  }
  if (method != "GET" || !request.body.empty()) {
    Set(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
}

void CurlTransfer::SetHeaders(const std::string& user_agent) {
  curl_slist_free_all(std::exchange(header_list_, nullptr));
  const auto append = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(header_list_, line.c_str());
    CHECK(longer != nullptr);
    header_list_ = longer;
  };
  for (const auto& [name, value] : request.headers.fields()) {
    append(value.empty() ? name + ";" : name + ": " + value);
  }
  // What libcurl would add on its own for a request with a body.
  if (!request.headers.Has("Expect")) append("Expect:");
  if (!request.headers.Has("Content-Type")) append("Content-Type:");
  Set(easy, CURLOPT_HTTPHEADER, header_list_);
  Set(easy, CURLOPT_USERAGENT, user_agent.c_str());
}

void CurlTransfer::SetCallbacks() {
  using Write = size_t (*)(char*, size_t, size_t, void*);
  const Write on_header = [](char* data, size_t size, size_t count, void* self) {
    return static_cast<CurlTransfer*>(self)->OnHeaderLine({data, size * count});
  };
  const Write on_body = [](char* data, size_t size, size_t count, void* self) {
    return static_cast<CurlTransfer*>(self)->OnBody({data, size * count});
  };
  using Xferinfo = int (*)(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  const Xferinfo on_progress = [](void* self, curl_off_t, curl_off_t down, curl_off_t,
                                  curl_off_t up) {
    auto* transfer = static_cast<CurlTransfer*>(self);
    if (down + up != transfer->bytes_seen_) transfer->Progress();
    transfer->bytes_seen_ = down + up;
    return 0;
  };
  using Prereq = int (*)(void*, char*, char*, int, int);
  const Prereq on_connected = [](void* self, char*, char*, int, int) {
    static_cast<CurlTransfer*>(self)->Progress();
    return CURL_PREREQFUNC_OK;
  };
  using OpenSocketCall = curl_socket_t (*)(void*, curlsocktype, curl_sockaddr*);
  const OpenSocketCall on_socket = [](void* self, curlsocktype, curl_sockaddr* address) {
    return static_cast<CurlTransfer*>(self)->OpenSocket(*address);
  };
  Set(easy, CURLOPT_HEADERFUNCTION, on_header);
  Set(easy, CURLOPT_HEADERDATA, this);
  Set(easy, CURLOPT_WRITEFUNCTION, on_body);
  Set(easy, CURLOPT_WRITEDATA, this);
  Set(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
  Set(easy, CURLOPT_XFERINFODATA, this);
  Set(easy, CURLOPT_NOPROGRESS, 0L);
  Set(easy, CURLOPT_PREREQFUNCTION, on_connected);
  Set(easy, CURLOPT_PREREQDATA, this);
  Set(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
  Set(easy, CURLOPT_OPENSOCKETDATA, this);
}

curl_socket_t CurlTransfer::OpenSocket(const curl_sockaddr& address) {
  if (!proxied_ && request.unix_socket.empty() && options_->check_address) {
    const Status allowed = options_->check_address(origin_.host, address.addr);
    if (!allowed.ok()) {
      refused_ = PermissionDenied(allowed.message());
      return CURL_SOCKET_BAD;
    }
  }
  address_tried_ = true;
  return ::socket(address.family, address.socktype | SOCK_CLOEXEC, address.protocol);
}

size_t CurlTransfer::OnHeaderLine(std::string_view line) {
  constexpr size_t kAbort = 0;
  Progress();
  window_bytes_ += line.size();
  if (head_complete_) return line.size();  // trailers
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxResponseHeaderBytes) {
    failure_ = Unavailable(Describe() + ": response header is larger than " +
                           std::to_string(kMaxResponseHeaderBytes) + " bytes");
    return kAbort;
  }
  const size_t size = line.size();
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  if (line.empty()) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) return size;  // 100 Continue, 103 Early Hints
    head_.status = static_cast<int>(status);
    head_complete_ = true;
    redirecting_ =
        request.max_redirects > 0 && IsRedirect(status) && !head_.headers.Get("Location").empty();
    if (redirecting_) return size;
    if (request.decode && IsEncoded(head_.headers)) {
      head_.headers.Remove("Content-Encoding");
      head_.headers.Remove("Content-Length");
    }
    failure_ = handler->OnHead(head_);
    return failure_.ok() ? size : kAbort;
  }
  if (line.starts_with("HTTP/")) {
    head_.headers = {};
    return size;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  head_.headers.Add(std::string(line.substr(0, colon)), std::string(value));
  return size;
}

size_t CurlTransfer::OnBody(std::string_view data) {
  constexpr size_t kAbort = CURL_WRITEFUNC_ERROR;
  Progress();
  window_bytes_ += data.size();
  if (redirecting_) {
    redirect_body_bytes_ += data.size();
    return redirect_body_bytes_ > kMaxRedirectBodyBytes ? kAbort : data.size();
  }
  if (data.empty()) return 0;
  const auto flow = handler->OnData(data);
  if (!flow.ok()) {
    failure_ = flow.status();
    return kAbort;
  }
  paused = *flow == HttpTransferHandler::Flow::kPause;
  took_bytes_ = took_bytes_ || !paused;
  return paused ? CURL_WRITEFUNC_PAUSE : data.size();
}

Result<bool> CurlTransfer::FollowRedirect() {
  if (!redirecting_) return false;
  if (++hops_ > request.max_redirects) {
    return Unavailable("more than " + std::to_string(request.max_redirects) + " redirects")
        .Annotate(origin_.ToString());
  }
  const std::string url = ResolveLocation(request.url, head_.headers.Get("Location"));
  const auto next = ParseOrigin(url);
  if (!next.ok()) {
    return Unavailable("redirected to a bad address: " + next.status().message())
        .Annotate(origin_.ToString());
  }
  if (!next->SameAs(origin_)) {
    request.headers = ForAnyHost(request.headers);
    request.unix_socket.clear();
  }
  const bool see_other = head_.status == 303 && request.method != "HEAD";
  if (see_other || (head_.status <= 302 && request.method == "POST")) {
    request.method = "GET";
    request.body.clear();
    request.headers.Remove("Content-Type");
  }
  request.url = url;
  return true;
}

Status CurlTransfer::StatusOf(CURLcode code) const {
  if (!failure_.ok()) return failure_;
  const std::string what = Describe();
  if (code == CURLE_OK || redirecting_) {
    // libcurl takes a connection that closes within the header for an answer without a body.
    return head_complete_ ? OkStatus() : Unavailable(what + ": closed before the header ended");
  }
  if (!refused_.ok() && !address_tried_) return refused_.Annotate(what);
  const std::string why = error_text_[0] != '\0' ? error_text_ : curl_easy_strerror(code);
  switch (code) {
    case CURLE_URL_MALFORMAT:
      return InvalidArgument(why).Annotate(what);
    case CURLE_OPERATION_TIMEDOUT:
      return DeadlineExceeded(why).Annotate(what);
    case CURLE_OUT_OF_MEMORY:
      return ResourceExhausted(why).Annotate(what);
    case CURLE_SSL_CACERT_BADFILE:
      return FailedPrecondition(why).Annotate(what);
    default:
      return Unavailable(why).Annotate(what);
  }
}

}  // namespace hearth::net
