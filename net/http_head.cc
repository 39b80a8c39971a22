#include "net/http_head.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <utility>

namespace hearth::net {

namespace {

constexpr std::array<std::pair<int, std::string_view>, 36> kPhrases = {{
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
}};

bool IsToken(std::string_view name) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool IsFieldText(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

}  // namespace

std::string_view ReasonPhrase(int status) {
  for (const auto& [code, phrase] : kPhrases) {
    if (code == status) return phrase;
  }
  return "";
}

std::string FormatHead(int status, const HttpHeaders& headers, const Framing& framing,
                       std::string_view date) {
  HttpHeaders fields = headers;
  for (const char* ours : {"Content-Length", "Transfer-Encoding", "Connection"}) {
    fields.Remove(ours);
  }
  if (!fields.Has("Date")) fields.Add("Date", std::string(date));
  if (framing.content_length) {
    fields.Add("Content-Length", std::to_string(*framing.content_length));
  }
  if (framing.chunked) fields.Add("Transfer-Encoding", "chunked");
  fields.Add("Connection", framing.keep_alive ? "keep-alive" : "close");
  std::string head = "HTTP/1.1 " + std::to_string(status) + " ";
  head += ReasonPhrase(status);
  head += "\r\n";
  for (const auto& [name, value] : fields.fields()) {
    if (!IsToken(name) || !IsFieldText(value)) continue;
    head += name + ": " + value + "\r\n";
  }
  return head + "\r\n";
}

std::string HttpDate(int64_t unix_seconds) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  std::snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[parts.tm_wday],
                parts.tm_mday, kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour,
                parts.tm_min, parts.tm_sec);
  return text;
}

std::optional<int64_t> ParseHttpDate(std::string_view text) {
  const std::string copy(text);
  std::tm parts{};
  const char* const end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end != copy.c_str() + copy.size()) return std::nullopt;
  return ::timegm(&parts);
}

Target SplitTarget(std::string_view target) {
  std::string_view rest = target;
  if (!rest.starts_with('/') && rest != "*") {
    const size_t scheme = rest.find("://");
    if (scheme == std::string_view::npos) return {};  // authority-form
    const size_t path = rest.find_first_of("/?", scheme + 3);
    rest = path == std::string_view::npos ? std::string_view() : rest.substr(path);
    if (rest.empty()) return {"/", ""};
    if (rest.front() == '?') return {"/", rest.substr(1)};
  }
  const size_t question = rest.find('?');
  if (question == std::string_view::npos) return {rest, ""};
  return {rest.substr(0, question), rest.substr(question + 1)};
}

}  // namespace hearth::net
