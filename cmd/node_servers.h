// NodeServers: where a node answers: containerd's socket, the mirror, the status and the admin
// server.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"
#include "cmd/file_side.h"
#include "cmd/image_side.h"
#include "cmd/node_base.h"
#include "cmd/node_status.h"
#include "cmd/rare_readings.h"
#include "net/grpc.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "plugin/admin.h"
#include "plugin/content_service.h"
#include "plugin/diff_service.h"
#include "plugin/snapshot_service.h"

namespace hearth::cmd {

class NodeServers {
 public:
  // For the ready line, `status` and the log.
  struct Addresses {
    std::string socket;
    std::string admin_socket;
    std::string mirror;
    std::string status;
  };
  // What is handed in outlives this. `probe_client` asks our own sockets whether they answer.
  NodeServers(NodeBase& base, ImageSide& images, FileSide& files,
              std::unique_ptr<net::HttpClient> probe_client);
  NodeServers(const NodeServers&) = delete;
  NodeServers& operator=(const NodeServers&) = delete;

  // Opens them one by one. An error names the key of the config whose address is in the way; what
  // is open then stays so until Stop().
  Status Start();
  // Ends the work that callers of the admin server wait for.
  void StopWork() { admin_.Stop(); }
  // Nobody new, then whoever waits; all servers within `grace`.
  void Stop(std::chrono::milliseconds grace) const;

  const Addresses& addresses() const { return addresses_; }
  // OK while every server answers. After Start() only.
  Status Ready() const { return status_->Ready(); }

 private:
  std::vector<Reading> Readings();
  std::vector<Probe> Probes();
  std::string StatusJson() const;
  Status StartGrpc();
  Status StartMirror();
  Status StartStatus();
  Status StartAdmin();

  NodeBase& base_;
  ImageSide& images_;
  FileSide& files_;
  const std::unique_ptr<net::HttpClient> probe_client_;
  Addresses addresses_;  // written before anybody can ask the admin server for them
  RareReadings store_readings_;
  plugin::Admin admin_;
  plugin::ContentService content_;
  plugin::SnapshotService snapshots_;
  plugin::DiffService diff_;
  std::optional<NodeStatus> status_;
  std::unique_ptr<net::GrpcServer> grpc_;
  std::unique_ptr<net::HttpServer> mirror_server_;
  std::unique_ptr<net::HttpServer> status_server_;
  std::unique_ptr<net::HttpServer> admin_server_;
};

}  // namespace hearth::cmd
