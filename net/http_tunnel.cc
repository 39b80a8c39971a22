#include "net/http_tunnel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

namespace hearth::net {

HttpTunnel::HttpTunnel(Socket& client, const Strand& strand, std::shared_ptr<Fd> remote,
                       std::chrono::milliseconds idle_timeout, std::function<void()> ended)
    : client_(client),
      fd_(std::move(remote)),
      remote_(strand),
      timer_(strand),
      idle_timeout_(idle_timeout),
      ended_(std::move(ended)),
      up_{&client_, &remote_, {}},
      down_{&remote_, &client_, {}} {}

void HttpTunnel::Start(std::string early) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  error_code error;
  const int copy = ::fcntl(fd_->get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0 || ::getsockname(copy, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    if (copy >= 0) ::close(copy);
    return Close();
  }
  remote_.assign(asio::generic::stream_protocol(name.ss_family, 0), copy, error);
  if (error) {
    ::close(copy);
    return Close();
  }
  remote_.native_non_blocking(true, error);
  Arm();
  Read(down_);
  early_ = std::move(early);
  if (early_.empty()) return Read(up_);
  asio::async_write(remote_, asio::buffer(early_),
                    [self = shared_from_this()](error_code failed, size_t) {
                      self->early_.clear();
                      if (failed) return self->Close();
                      self->Read(self->up_);
                    });
}

void HttpTunnel::Read(Direction& direction) {
  if (closed_) return;
  direction.from->async_read_some(
      asio::buffer(direction.buffer),
      [self = shared_from_this(), &direction](error_code error, size_t bytes) {
        if (self->closed_) return;
        if (error == asio::error::eof) return self->EndOf(direction);
        if (error) return self->Close();
        self->Arm();
        self->Write(direction, bytes);
      });
}

void HttpTunnel::Write(Direction& direction, size_t bytes) {
  asio::async_write(*direction.to, asio::buffer(direction.buffer, bytes),
                    [self = shared_from_this(), &direction](error_code error, size_t) {
                      if (self->closed_) return;
                      if (error) return self->Close();
                      self->Arm();
                      self->Read(direction);
                    });
}

// One side has nothing more to say; the other may still answer.
void HttpTunnel::EndOf(Direction& direction) {
  if (--open_directions_ == 0) return Close();
  error_code ignored;
  direction.to->shutdown(Socket::shutdown_send, ignored);
}

void HttpTunnel::Arm() {
  timer_.expires_after(idle_timeout_);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->Close();
  });
}

void HttpTunnel::Close() {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  remote_.close(ignored);
  timer_.cancel();
  if (const auto ended = std::exchange(ended_, nullptr)) ended();
}

}  // namespace hearth::net
