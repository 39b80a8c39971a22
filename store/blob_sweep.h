// SweepBlobs: makes index and files of blobs agree after a crash.
#pragma once

#include "base/status.h"
#include "store/blob_files.h"
#include "store/blob_index.h"

namespace hearth::store {

// Drops records that cannot be read or whose file is missing or of a wrong size, and files without
// a record. Before anybody else uses either.
Status SweepBlobs(BlobIndex& index, const BlobFiles& files);

}  // namespace hearth::store
