// PaxRecords: the key=value lines of one pax extended header, by the rules of Go's archive/tar.
//
// The last record of a key counts. Pure; any thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/status.h"
#include "plugin/tar_header.h"

namespace hearth::plugin {

using PaxRecords = std::map<std::string, std::string, std::less<>>;

// The body of an extended header. The offsets and lengths of GNU's sparse format 0.0 come back as
// one "GNU.sparse.map", as format 0.1 has it. kDataLoss for a malformed line.
Result<PaxRecords> ParsePaxRecords(std::string_view body);

// Values that `records` have go over those of `header`; empty ones do not. kDataLoss for one that
// is no number or time.
Status ApplyPaxRecords(const PaxRecords& records, TarHeader& header);

// "" where there is none.
std::string_view PaxValue(const PaxRecords& records, std::string_view key);

}  // namespace hearth::plugin
