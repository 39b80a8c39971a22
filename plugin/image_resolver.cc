#include "plugin/image_resolver.h"

#include <utility>

#include "oci/media_type.h"
#include "plugin/blob_check.h"
#include "plugin/document.h"

namespace hearth::plugin {

namespace {

// A document that cannot be read is the origin's fault, not the caller's.
template <typename T>
Result<T> OriginsFault(Result<T> answer) {
  if (answer.status().code() != StatusCode::kInvalidArgument) return answer;
  return DataLoss(answer.status().message());
}

}  // namespace

Result<std::string> ImageResolver::Read(const Digest& digest, uint64_t limit_bytes) const {
  return ReadDocument(*TRY(blobs_.Open(digest)), limit_bytes);
}

Status ImageResolver::Keep(const Digest& digest, const std::string& bytes, std::stop_token stop) {
  const auto grown = TRY(blobs_.Grow(digest, bytes.size()));
  if (grown.writer) {
    const uint64_t offset = grown.blob->FirstMissing();
    const Status written = grown.blob->Write(offset, std::span<const char>(bytes).subspan(offset));
    if (!written.ok()) {
      grown.blob->Fail(written);
      return written;
    }
  }
  return grown.blob->WaitComplete(std::move(stop));
}

Result<ImageResolver::Document> ImageResolver::Load(const oci::Access& origin, const Digest& digest,
                                                    std::stop_token stop) {
  TRY_STATUS(DropIfDamaged(blobs_, digest, stop).status());
  Document document;
  if (auto bytes = Read(digest, oci::kMaxManifestBytes); bytes.ok()) {
    document.bytes = std::move(*bytes);
    document.descriptor.media_type = TRY(oci::DocumentMediaType(document.bytes, ""));
  } else {
    auto answer =
        TRY(OriginsFault(registry_.GetManifest(origin, digest.ToString(), std::move(stop))));
    document.bytes = std::move(answer.bytes);
    document.descriptor.media_type = std::move(answer.media_type);
  }
  document.descriptor.digest = digest;
  document.descriptor.size_bytes = document.bytes.size();
  return document;
}

Result<ResolvedImage> ImageResolver::Resolve(const std::string& reference,
                                             const std::vector<oci::Platform>& platforms,
                                             std::stop_token stop, const ImageLogin& login) {
  ResolvedImage image;
  image.reference = TRY(oci::Reference::Parse(reference));
  image.origin = {.registry = image.reference.domain,
                  .repository = image.reference.path,
                  .authorization = login.authorization,
                  .credential = login.credential,
                  .plain_http = login.plain_http};
  Digest digest;
  if (image.reference.digest) {
    digest = *image.reference.digest;
  } else {
    const std::string tag = image.reference.Object();
    const auto target = TRY(OriginsFault(registry_.HeadManifest(image.origin, tag, stop)));
    if (observer_ != nullptr) observer_->OnResolved(image.origin, tag, target);
    digest = target.digest;
  }
  auto target = TRY(Load(image.origin, digest, stop));
  image.target = target.descriptor;
  image.target_bytes = std::move(target.bytes);

  std::vector<oci::Platform> wanted = platforms;
  if (wanted.empty()) wanted.push_back(oci::Platform::Host());
  if (!oci::IsIndexType(image.target.media_type)) {
    auto manifest =
        TRY(OriginsFault(oci::Manifest::Parse(image.target_bytes, image.target.media_type)));
    image.manifests.push_back(
        {wanted.front(), image.target, std::move(manifest), image.target_bytes});
    return image;
  }
  const auto index =
      TRY(OriginsFault(oci::Index::Parse(image.target_bytes, image.target.media_type)));
  for (const auto& platform : wanted) {
    auto descriptor = TRY(index.Choose(platform));
    auto document = TRY(Load(image.origin, descriptor.digest, stop));
    auto manifest = TRY(OriginsFault(oci::Manifest::Parse(document.bytes, descriptor.media_type)));
    image.manifests.push_back(
        {platform, std::move(descriptor), std::move(manifest), std::move(document.bytes)});
  }
  return image;
}

}  // namespace hearth::plugin
