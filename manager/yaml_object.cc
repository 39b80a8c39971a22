#include "manager/yaml_object.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "base/ascii.h"
#include "base/nearest_name.h"
#include "base/units.h"

namespace hearth::manager {

namespace {

constexpr std::string_view kWideColon = "\xEF\xBC\x9A";  // U+FF1A
constexpr size_t kMaxShownBytes = 64;

std::string Shown(std::string_view text) {
  return "\"" + std::string(text.substr(0, kMaxShownBytes)) +
         (text.size() > kMaxShownBytes ? "…\"" : "\"");
}

size_t LineOf(const YAML::Node& node) {
  const YAML::Mark mark = node.Mark();
  return mark.is_null() ? 0 : static_cast<size_t>(mark.line) + 1;
}

// A scalar without quotes that YAML, and with it Kubernetes, reads as something else than text.
bool IsNumber(const YAML::Node& node) {
  double number = 0;
  return node.Tag() == "?" && YAML::convert<double>::decode(node, number);
}
bool IsText(const YAML::Node& node) {
  bool flag = false;
  return node.IsScalar() && !IsNumber(node) &&
         (node.Tag() != "?" || !YAML::convert<bool>::decode(node, flag));
}

// Keys that end in a full-width colon: an input method's slip that YAML does not explain. Returns
// the text with such colons mended, so that what else is wrong is found too.
std::string MendWideColons(std::string_view text, YamlProblems& problems) {
  std::string mended;
  for (size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
    text.remove_prefix(line.size());
    const size_t wide = line.substr(0, line.find('#')).find(kWideColon);
    if (wide == line.npos || line.substr(0, wide).find_first_of(":\"'") != line.npos) {
      mended += line;
      continue;
    }
    const std::string key(TrimBlanks(line.substr(0, wide)));
    problems.Add(number, Shown(key + std::string(kWideColon)) +
                             " ends in a full-width colon (U+FF1A): write " + Shown(key + ":"));
    mended += std::string(line.substr(0, wide)) + ": ";
    mended += line.substr(wide + kWideColon.size());
  }
  return mended;
}

// Reads a stream without keeping it, and throws where keeping it would take all memory: yaml-cpp
// makes documents without end of one that begins with what no document can, as a comma; and a few
// aliases of aliases stand for more values than anybody has room for.
class Bounds final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (mark.pos <= last_start_) {
      throw YAML::ParserException(mark, "a document cannot begin like this");
    }
    last_start_ = mark.pos;
    sizes_.clear();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { Count(mark, 1); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto size = sizes_.find(anchor);
    Count(mark, size == sizes_.end() ? 1 : size->second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                const std::string&) override {
    Count(mark, 1);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(mark, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(mark, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  void Begin(const YAML::Mark& mark, YAML::anchor_t anchor) {
    open_.emplace_back(anchor, values_);
    Count(mark, 1);
  }
  void End() {
    const auto [anchor, before] = open_.back();
    open_.pop_back();
    sizes_[anchor] = values_ - before;
  }
  void Count(const YAML::Mark& mark, size_t values) {
    values_ += values;
    if (values_ > YamlObject::kMaxValues) {
      throw YAML::ParserException(
          mark, "more than " + std::to_string(YamlObject::kMaxValues) + " values");
    }
  }

  int last_start_ = -1;
  size_t values_ = 0;
  std::vector<std::pair<YAML::anchor_t, size_t>> open_;  // collections, and values before each
  std::map<YAML::anchor_t, size_t> sizes_;               // in values, of what has an anchor
};

Result<std::vector<YAML::Node>> Load(std::string_view text) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    for (Bounds bounds; parser.HandleNextDocument(bounds);) {
    }
    return YAML::LoadAll(std::string(text));
  } catch (const YAML::Exception& error) {
    const std::string line =
        error.mark.is_null() ? "" : "line " + std::to_string(error.mark.line + 1) + ": ";
    return InvalidArgument(line + "not YAML: " + error.msg);
  }
}

}  // namespace

void YamlProblems::Add(size_t line, const std::string& what) {
  if (problems_.size() == kMax) {
    ++more_;
    return;
  }
  problems_.push_back((line == 0 ? "" : "line " + std::to_string(line) + ": ") + what);
}

Status YamlProblems::ToStatus() const {
  if (problems_.empty()) return OkStatus();
  std::string all;
  for (const std::string& problem : problems_) all += (all.empty() ? "" : "\n") + problem;
  if (more_ > 0) all += "\nand " + std::to_string(more_) + " more";
  return InvalidArgument(all);
}

struct YamlObject::State {
  struct Field {
    YAML::Node node;
    size_t line;  // of its name
  };

  std::string path;  // "spec.", "" of a document
  size_t line = 0;
  YamlProblems* problems = nullptr;
  std::map<std::string, Field> fields;
  std::set<std::string> read;
  std::map<std::string, std::string> misspellings;

  // Null where it is absent, null, or an empty text or collection.
  const YAML::Node* Find(const std::string& name) {
    read.insert(name);
    const auto found = fields.find(name);
    if (found == fields.end() || found->second.node.IsNull()) return nullptr;
    const YAML::Node& node = found->second.node;
    if (node.IsScalar() ? node.Scalar().empty() : node.size() == 0) return nullptr;
    return &node;
  }
  void Reject(const YAML::Node& node, const std::string& name, const std::string& why) {
    problems->Add(LineOf(node), path + name + ": " + why);
  }
  // Null after it said why, where `node` is no object.
  std::unique_ptr<State> Below(const YAML::Node& node, const std::string& name) {
    auto below = std::make_unique<State>();
    below->path = name.empty() ? "" : path + name + ".";
    below->line = LineOf(node);
    below->problems = problems;
    const std::string where = name.empty() ? "" : path + name + ": ";
    if (!node.IsMap()) {
      std::string hint;
      if (node.IsScalar() && node.Scalar().find(':') != std::string::npos) {
        hint = ", and " + Shown(node.Scalar()) + " lacks a space behind its colon";
      }
      problems->Add(below->line, where + "must be an object of fields" + hint);
      return nullptr;
    }
    for (const auto& field : node) {
      if (!field.first.IsScalar()) {
        problems->Add(LineOf(field.first), where + "a field's name must be a text");
      } else if (!below->fields
                      .emplace(field.first.Scalar(), Field{field.second, LineOf(field.first)})
                      .second) {
        problems->Add(LineOf(field.first),
                      where + "the field " + Shown(field.first.Scalar()) + " is there twice");
      }
    }
    return below;
  }
};

YamlObject::YamlObject(std::unique_ptr<State> state) : state_(std::move(state)) {}
YamlObject::~YamlObject() = default;
YamlObject::YamlObject(YamlObject&&) noexcept = default;
YamlObject& YamlObject::operator=(YamlObject&&) noexcept = default;

Result<std::vector<YamlObject>> YamlObject::ParseAll(std::string_view text,
                                                     YamlProblems& problems) {
  if (text.size() > kMaxBytes) return ResourceExhausted("the file is larger than 1 MiB");
  auto documents = Load(text);
  if (!documents.ok()) {
    const std::string mended = MendWideColons(text, problems);
    if (mended == text) return documents.status();
    documents = Load(mended);
    if (!documents.ok()) return problems.ToStatus();
  }
  State root;
  root.problems = &problems;
  std::vector<YamlObject> objects;
  for (const YAML::Node& document : *documents) {
    if (document.IsNull()) continue;
    if (auto state = root.Below(document, "")) objects.push_back(YamlObject(std::move(state)));
  }
  return objects;
}

bool YamlObject::Has(const std::string& name) const { return state_->Find(name) != nullptr; }

void YamlObject::Text(const std::string& name, std::string& out) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return;
  if (!IsText(*node)) return state_->Reject(*node, name, "must be a text (quote it)");
  out = node->Scalar();
}

void YamlObject::TextOrNumber(const std::string& name, std::string& out) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return;
  if (!IsText(*node) && !IsNumber(*node)) return state_->Reject(*node, name, "must be a text");
  out = node->Scalar();
}

void YamlObject::Texts(const std::string& name, std::vector<std::string>& out) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return;
  if (!node->IsSequence()) return state_->Reject(*node, name, "must be a list of texts");
  std::vector<std::string> texts;
  for (const YAML::Node& entry : *node) {
    if (!IsText(entry) || entry.Scalar().empty()) {
      state_->Reject(entry, name, "must be a list of texts (quote what looks like a number)");
      return;
    }
    texts.push_back(entry.Scalar());
  }
  out = std::move(texts);
}

void YamlObject::Pairs(const std::string& name, std::map<std::string, std::string>& out) {
  std::optional<YamlObject> pairs = Object(name);
  if (!pairs) return;
  std::map<std::string, std::string> read;
  for (const auto& [key, field] : pairs->state_->fields) {
    const YAML::Node& node = field.node;
    // An empty text is a value here.
    const bool empty = node.IsScalar() && node.Scalar().empty();
    if (!empty && !IsText(node))
      return pairs->state_->Reject(node, key, "must be a text (quote it)");
    read[key] = node.Scalar();
  }
  out = std::move(read);
}

void YamlObject::Integer(const std::string& name, uint64_t max, uint64_t& out) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return;
  const auto number =
      node->IsScalar() && node->Tag() == "?" ? ParseDecimal(node->Scalar()) : std::nullopt;
  if (!number || *number > max) {
    return state_->Reject(*node, name, "must be a whole number from 0 to " + std::to_string(max));
  }
  out = *number;
}

void YamlObject::Boolean(const std::string& name, bool& out) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return;
  const bool plain = node->IsScalar() && node->Tag() == "?";
  if (!plain || (node->Scalar() != "true" && node->Scalar() != "false")) {
    return state_->Reject(*node, name, "must be true or false");
  }
  out = node->Scalar() == "true";
}

std::optional<YamlObject> YamlObject::Object(const std::string& name) {
  const YAML::Node* node = state_->Find(name);
  if (node == nullptr) return std::nullopt;
  auto below = state_->Below(*node, name);
  if (below == nullptr) return std::nullopt;
  return YamlObject(std::move(below));
}

std::vector<YamlObject> YamlObject::Objects(const std::string& name) {
  const YAML::Node* node = state_->Find(name);
  std::vector<YamlObject> objects;
  if (node == nullptr) return objects;
  if (!node->IsSequence()) {
    state_->Reject(*node, name, "must be a list of objects");
    return objects;
  }
  size_t index = 0;
  for (const YAML::Node& entry : *node) {
    auto below = state_->Below(entry, name + "[" + std::to_string(index++) + "]");
    if (below != nullptr) objects.push_back(YamlObject(std::move(below)));
  }
  return objects;
}

void YamlObject::Ignore(const std::string& name) { state_->read.insert(name); }

void YamlObject::Misspelling(const std::string& wrong, const std::string& right) {
  state_->misspellings[wrong] = right;
}

void YamlObject::Reject(const std::string& name, const std::string& why) {
  const auto field = state_->fields.find(name);
  const size_t line = field == state_->fields.end() ? state_->line : field->second.line;
  std::string path = state_->path + name;
  if (name.empty() && path.ends_with('.')) path.pop_back();
  state_->problems->Add(line, path + (path.empty() ? "" : ": ") + why);
}

void YamlObject::Finish() {
  for (const auto& [name, field] : state_->fields) {
    if (state_->read.contains(name)) continue;
    const auto misspelling = state_->misspellings.find(name);
    const std::string near = misspelling != state_->misspellings.end()
                                 ? misspelling->second
                                 : NearestName(name, {state_->read.begin(), state_->read.end()});
    state_->problems->Add(field.line, state_->path + Shown(name) + ": unknown field" +
                                          (near.empty() ? "" : " (did you mean " + near + "?)"));
  }
}

}  // namespace hearth::manager
