// containerd's Content service over the store. Translation only: what calls mean is decided in
// BlobStore, IngestStore and WriteStream.
//
// Info claims a blob (containerd asks it before it refers to one), List shows claimed blobs only,
// Delete drops the claim and knows no NotFound, since one error ends containerd's garbage
// collection.
#pragma once

#include <memory>

#include "base/thread.h"
#include "plugin/content_observer.h"
#include "store/blob_store.h"
#include "store/ingest_store.h"

namespace grpc {
class Service;
}

namespace hearth::plugin {

class ContentService {
 public:
  struct Options {
    store::BlobStore& blobs;
    store::IngestStore& ingests;
    // Calls that wait for the disk: what is written is synced here, and read here. Outlives the
    // server, as the next one.
    ThreadPool& workers;
    // All others. containerd asks them under its one database lock, so nothing here may sync data
    // or wait for somebody who does.
    ThreadPool& quick;
    ContentObserver* observer = nullptr;  // hears of commits
  };
  explicit ContentService(const Options& options);
  // For net::GrpcServer, which this outlives.
  grpc::Service* service() const { return service_.get(); }

 private:
  const std::shared_ptr<grpc::Service> service_;
};

}  // namespace hearth::plugin
