"""The HTTP server that the test bed's own services stand on."""

import http.server


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests
