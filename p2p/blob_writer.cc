#include "p2p/blob_writer.h"

#include <string>

#include "p2p/traffic.h"

namespace hearth::p2p {

bool BlobWriter::Ready(std::function<void()> resume) {
  if (pace_.timers != nullptr && free_at_ > std::chrono::steady_clock::now()) {
    pace_.timers->At(free_at_, std::move(resume));
    return false;
  }
  return blob_.MayWrite(std::move(resume));
}

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
  if (pace_.limiter != nullptr) {
    free_at_ = pace_.limiter->Charge(Limiter::Traffic::kOrigin, data.size(),
                                     std::chrono::steady_clock::now());
  }
  CountReceived(ByteOrigin::kRegistry, data.size());
  if (received_) received_(data.size());
  return OkStatus();
}

}  // namespace hearth::p2p
