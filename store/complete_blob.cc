#include "store/complete_blob.h"

#include <algorithm>
#include <utility>

namespace hearth::store {

namespace {

class CompleteBlob final : public Blob {
 public:
  CompleteBlob(const Digest& digest, uint64_t size_bytes, std::shared_ptr<const Fd> file)
      : digest_(digest), size_bytes_(size_bytes), file_(std::move(file)) {}

  const Digest& digest() const override { return digest_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  State state() const override { return State::kComplete; }
  Status failure() const override { return OkStatus(); }
  std::shared_ptr<const Fd> file() const override { return file_; }
  uint64_t Available(uint64_t offset_bytes) const override {
    return size_bytes_ - std::min(offset_bytes, size_bytes_);
  }
  uint64_t PresentBytes() const override { return size_bytes_; }

  Result<size_t> Read(uint64_t offset_bytes, std::span<char> out, std::stop_token /*stop*/,
                      Deadline /*deadline*/) override {
    const uint64_t wanted = std::min<uint64_t>(out.size(), Available(offset_bytes));
    const size_t got = TRY(ReadAt(file_->get(), out.first(wanted), offset_bytes));
    if (got < wanted) {
      return DataLoss("blob " + digest_.ToString() + ": its file ends at byte " +
                      std::to_string(offset_bytes + got) + " of " + std::to_string(size_bytes_));
    }
    return got;
  }
  Status WaitComplete(std::stop_token /*stop*/, Deadline /*deadline*/) override {
    return OkStatus();
  }
  void WhenAvailable(uint64_t /*offset_bytes*/, std::function<void()> wake) override { wake(); }

  uint64_t FirstMissing() const override { return size_bytes_; }
  Status Write(uint64_t /*offset_bytes*/, std::span<const char> /*data*/) override {
    return OkStatus();
  }
  bool MayWrite(std::function<void()> /*resume*/) override { return true; }
  void Fail(Status /*why*/) override {}

 private:
  const Digest digest_;
  const uint64_t size_bytes_;
  const std::shared_ptr<const Fd> file_;
};

}  // namespace

std::shared_ptr<Blob> MakeCompleteBlob(const Digest& digest, uint64_t size_bytes,
                                       std::shared_ptr<const Fd> file) {
  return std::make_shared<CompleteBlob>(digest, size_bytes, std::move(file));
}

}  // namespace hearth::store
