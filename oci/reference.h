// Reference: the name of an image, read as docker/distribution and containerd's CRI read it.
//
// "nginx" → docker.io/library/nginx:latest. A plain value; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/status.h"

namespace hearth::oci {

struct Reference {
  std::string domain;            // "docker.io", "registry.example.com:5000", "[::1]:5000"
  std::string path;              // "library/nginx"
  std::string tag;               // "" where only a digest was given; never both empty
  std::optional<Digest> digest;  // wins over the tag

  // kInvalidArgument says what is wrong and how it should look; kUnimplemented for sha512 digests.
  static Result<Reference> Parse(std::string_view text);

  // "docker.io/library/nginx"
  std::string Name() const { return domain + "/" + path; }
  // Name of the image record as `ctr i pull` makes it: name, tag and digest as far as given.
  std::string ToString() const;
  // Name of the image record as CRI and nerdctl make it: the tag goes where a digest is given.
  std::string CriName() const;
  // What the registry is asked for: the digest, else the tag.
  std::string Object() const { return digest ? digest->ToString() : tag; }

  friend bool operator==(const Reference&, const Reference&) = default;
};

// Host of the registry's API: docker.io → registry-1.docker.io, others unchanged.
std::string RegistryApiHost(std::string_view domain);
// "127.x.y.z", "localhost", "[::1]", each with or without a port.
bool IsLoopbackHost(std::string_view domain);
// "https", and "http" for loopback hosts, as containerd's resolver does.
std::string_view DefaultScheme(std::string_view domain);
// "docker.io" for every spelling of Docker Hub (index.docker.io, registry-1.docker.io).
std::string NormalizeDomain(std::string_view domain);

// True for "host", "host:port", "[::1]:port" and Docker Hub's short name; no scheme, no path.
bool IsRegistryDomain(std::string_view text);
// True for a repository path as the distribution specification writes it ("library/nginx").
bool IsRepositoryPath(std::string_view text);
bool IsTag(std::string_view text);

}  // namespace hearth::oci
