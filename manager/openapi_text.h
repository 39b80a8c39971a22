// openapi.yaml, as the manager serves it.
#pragma once

namespace hearth::manager {

extern const char* const kOpenApiText;

}  // namespace hearth::manager
