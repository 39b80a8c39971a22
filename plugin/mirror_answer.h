// MirrorAnswer: answers of the mirror that carry no blob. Pure.
//
// Whatever goes wrong must make containerd turn to the origin at once: 404 or 503; 408 and 429
// would make it come back without a pause.
#pragma once

#include "base/status.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace hearth::plugin {

// In the distribution API's error form. kNotFound and what the caller did wrong: 404; all else 503.
net::ServerResponse ErrorAnswer(const Status& status);

// The origin's answer for the caller: status, body, and the headers that a client needs (type,
// digest, challenge …), never an encoding. 408, 429 and 5xx become 503. `head`: the request was
// HEAD.
net::ServerResponse ForwardedAnswer(const net::HttpResponse& origin, bool head);

}  // namespace hearth::plugin
