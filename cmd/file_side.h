// FileSide: what a node does with files behind URLs: the cache and the proxy in front of it.
//
// The members are in order of dependency; whoever uses them is destroyed before.
#pragma once

#include <memory>
#include <optional>

#include "base/status.h"
#include "cmd/node_base.h"
#include "net/http_client.h"
#include "plugin/file_cache.h"
#include "plugin/file_proxy.h"

namespace hearth::cmd {

struct FileSide {
  // `base` outlives what this makes. kInvalidArgument: a rule of [proxy] that cannot be read.
  static Result<std::unique_ptr<FileSide>> Open(NodeBase& base);
  FileSide(const FileSide&) = delete;
  FileSide& operator=(const FileSide&) = delete;

  // What is passed through and not stored has a client of its own, so that slow readers there hold
  // no connection of those that fill the store.
  std::unique_ptr<net::HttpClient> passing;
  plugin::FileCache files;
  plugin::FileProxy proxy;

 private:
  FileSide(NodeBase& base, plugin::ProxyRules rules, std::unique_ptr<net::HttpClient> client);
};

}  // namespace hearth::cmd
