// HttpStream: the connection of an HttpSession as one stream of Asio's, plain or under TLS. For
// http_session only; everything runs on the session's strand.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <memory>
#include <optional>
#include <utility>

namespace hearth::net {

class HttpStream {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol, Strand>;
  using executor_type = Strand;

  explicit HttpStream(const Strand& strand) : socket_(strand) {}

  Socket& socket() { return socket_; }
  executor_type get_executor() { return socket_.get_executor(); }
  bool is_tls() const { return tls_.has_value(); }

  // As a server, on the connected socket; `done` gets an error_code. Once, before anything else.
  template <typename Done>
  void Handshake(std::shared_ptr<SSL_CTX> context, Done done) {
    SSL_CTX_up_ref(context.get());  // the wrapper gives one back
    context_.emplace(context.get());
    tls_.emplace(socket_, *context_);
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::move(done));
  }
  SSL* native_tls() { return tls_->native_handle(); }

  template <typename Buffers, typename Done>
  void async_read_some(const Buffers& buffers, Done&& done) {
    tls_ ? tls_->async_read_some(buffers, std::forward<Done>(done))
         : socket_.async_read_some(buffers, std::forward<Done>(done));
  }
  template <typename Buffers, typename Done>
  void async_write_some(const Buffers& buffers, Done&& done) {
    tls_ ? tls_->async_write_some(buffers, std::forward<Done>(done))
         : socket_.async_write_some(buffers, std::forward<Done>(done));
  }
  // Says the end under TLS, and waits for the other side to say it too.
  template <typename Done>
  void ShutdownTls(Done done) {
    tls_->async_shutdown(std::move(done));
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::context> context_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace hearth::net
