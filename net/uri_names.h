// The names by which certificates of a cluster tell who shows them.
#pragma once

#include <string>
#include <vector>

struct x509_st;  // OpenSSL's X509

namespace hearth::net {

// URIs among the certificate's alternative names, as they stand there: a stranger's may hold any
// bytes.
std::vector<std::string> UriNames(const x509_st* certificate);

}  // namespace hearth::net
