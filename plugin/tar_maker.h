// TarMaker: writes small tars, well-formed or not, byte by byte; for tests and fuzz corpora only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace hearth::plugin {

// What a header says; `type` is the tar's own flag ('0' file, '1' hard link, '5' directory, …).
struct TarMember {
  std::string name;
  char type = '0';
  std::string body = {};
  std::string link = {};
  unsigned mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  int64_t mtime = 1'600'000'000;
  unsigned device_major = 0;
  unsigned device_minor = 0;
  std::vector<std::pair<std::string, std::string>> pax =
      {};  // records of an extended header before it
};

class TarMaker {
 public:
  TarMaker& Add(const TarMember& header) {
    if (!header.pax.empty()) {
      TarMember extended;
      extended.name = "PaxHeaders/x";
      extended.type = 'x';
      for (const auto& [key, value] : header.pax) extended.body += Record(key, value);
      AddPlain(extended);
    }
    AddPlain(header);
    return *this;
  }
  TarMaker& File(const std::string& name, const std::string& body = "", unsigned mode = 0644) {
    TarMember header;
    header.name = name;
    header.body = body;
    header.mode = mode;
    return Add(header);
  }
  TarMaker& Directory(const std::string& name, unsigned mode = 0755) {
    TarMember header;
    header.name = name;
    header.type = '5';
    header.mode = mode;
    return Add(header);
  }
  TarMaker& Link(const std::string& name, char type, const std::string& target) {
    TarMember header;
    header.name = name;
    header.type = type;
    header.link = target;
    return Add(header);
  }
  TarMaker& Symlink(const std::string& name, const std::string& target) {
    return Link(name, '2', target);
  }
  TarMaker& HardLink(const std::string& name, const std::string& target) {
    return Link(name, '1', target);
  }
  TarMaker& Raw(const std::string& bytes) {
    tar_ += bytes;
    return *this;
  }
  // With the two blocks of zeros that end an archive.
  std::string End() const { return tar_ + std::string(1024, '\0'); }
  const std::string& bytes() const { return tar_; }

  static std::string Record(const std::string& key, const std::string& value) {
    const std::string rest = " " + key + "=" + value + "\n";
    size_t size = rest.size() + 1;
    while (std::to_string(size).size() + rest.size() != size) ++size;
    return std::to_string(size) + rest;
  }

 private:
  static void Octal(char* field, size_t width, uint64_t value) {
    for (size_t i = width - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + value % 8);
  }
  static void Text(char* field, size_t width, const std::string& text) {
    std::memcpy(field, text.data(), text.size() < width ? text.size() : width);
  }

  void AddPlain(const TarMember& header) {
    char block[512] = {};
    Text(block, 100, header.name);
    Octal(block + 100, 8, header.mode);
    Octal(block + 108, 8, header.uid);
    Octal(block + 116, 8, header.gid);
    Octal(block + 124, 12, header.body.size());
    Octal(block + 136, 12, static_cast<uint64_t>(header.mtime));
    block[156] = header.type;
    Text(block + 157, 100, header.link);
    std::memcpy(block + 257,
                "ustar\0"
                "00",
                8);
    Octal(block + 329, 8, header.device_major);
    Octal(block + 337, 8, header.device_minor);
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (const char byte : block) sum += static_cast<unsigned char>(byte);
    Octal(block + 148, 7, sum);
    tar_.append(block, sizeof(block));
    tar_ += header.body;
    tar_.append((512 - header.body.size() % 512) % 512, '\0');
  }

  std::string tar_;
};

}  // namespace hearth::plugin
