#include "p2p/blob_writer.h"

#include <string>

#include "p2p/traffic.h"

namespace hearth::p2p {

Status BlobWriter::Append(std::string_view data) {
  if (data.size() > blob_.size_bytes() - offset_) {
    return DataLoss("blob " + blob_.digest().ToString() + ": more than the " +
                    std::to_string(blob_.size_bytes()) + " bytes that its manifest names");
  }
  if (Status written = blob_.Write(offset_, {data.data(), data.size()}); !written.ok()) {
    store_error_ = written;
    return written;
  }
  offset_ += data.size();
  CountReceived(ByteOrigin::kRegistry, data.size());
  return OkStatus();
}

}  // namespace hearth::p2p
