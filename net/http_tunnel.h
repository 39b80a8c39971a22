// HttpTunnel: bytes both ways between a client that said CONNECT and the socket that it asked for.
//
// For http_session.cc only. Everything runs on the session's strand. Holds one small buffer for
// each direction; ends when both sides have closed, one of them broke, or nothing moved for
// `idle_timeout`.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "net/http_session.h"

namespace hearth::net {

class HttpTunnel : public std::enable_shared_from_this<HttpTunnel> {
 public:
  using Socket = HttpSession::Socket;
  // `client` outlives the tunnel, which `ended` tells its end, once. `remote` is connected and
  // non-blocking.
  HttpTunnel(Socket& client, const Strand& strand, std::shared_ptr<Fd> remote,
             std::chrono::milliseconds idle_timeout, std::function<void()> ended);

  // `early` came from the client behind its request.
  void Start(std::string early);
  void Close();

 private:
  static constexpr size_t kBufferBytes = 16 * 1024;
  struct Direction {
    Socket* from;
    Socket* to;
    std::array<char, kBufferBytes> buffer;
  };
  void Read(Direction& direction);
  void Write(Direction& direction, size_t bytes);
  void EndOf(Direction& direction);
  void Arm();

  Socket& client_;
  const std::shared_ptr<Fd> fd_;  // for its owner's count; the descriptor itself is remote_'s copy
  Socket remote_;
  Timer timer_;
  const std::chrono::milliseconds idle_timeout_;
  std::function<void()> ended_;
  Direction up_;
  Direction down_;
  std::string early_;
  int open_directions_ = 2;
  bool closed_ = false;
};

}  // namespace hearth::net
