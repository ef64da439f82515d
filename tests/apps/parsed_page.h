#pragma once

#include <cctype>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace slackline::testing_support {

/// A page, read as strictly as XML is: every tag closed in its order, every attribute quoted, every
/// entity known. Throws where it is not.
class ParsedPage {
 public:
  struct Element {
    std::string tag;
    std::map<std::string, std::string> attributes;
    std::string text;  ///< with that of all elements inside
    std::size_t parent = 0;
  };

  explicit ParsedPage(std::string_view html) : rest_(html) {
    elements_.push_back({});  // what holds the page
    const std::string_view doctype = "<!DOCTYPE html>";
    if (!rest_.starts_with(doctype)) throw std::runtime_error("no doctype");
    rest_.remove_prefix(doctype.size());
    while (!rest_.empty()) rest_.front() == '<' ? tag() : text();
    if (open_.size() != 1) throw std::runtime_error("left open: " + elements_[open_.back()].tag);
  }

  [[nodiscard]] const std::vector<Element>& elements() const { return elements_; }
  [[nodiscard]] const std::string& text_of_all() const { return elements_[0].text; }

  [[nodiscard]] std::vector<std::string> texts(const std::string& tag) const {
    std::vector<std::string> out;
    for (const Element& element : elements_) {
      if (element.tag == tag) out.push_back(element.text);
    }
    return out;
  }

  /// The cells of the first row whose header is this.
  [[nodiscard]] std::vector<std::string> row(const std::string& header) const {
    for (std::size_t i = 0; i < elements_.size(); ++i) {
      if (elements_[i].tag != "th" || elements_[i].text != header) continue;
      std::vector<std::string> cells;
      for (const Element& element : elements_) {
        const bool is_beside = element.parent == elements_[i].parent;
        if (element.tag == "td" && is_beside) cells.push_back(element.text);
      }
      return cells;
    }
    return {"no row " + header};
  }

  [[nodiscard]] std::vector<Element> with(const std::string& tag, const std::string& kind) const {
    std::vector<Element> out;
    for (const Element& element : elements_) {
      const auto found = element.attributes.find("class");
      const bool is_kind = found != element.attributes.end() && found->second.starts_with(kind);
      if (element.tag == tag && is_kind) out.push_back(element);
    }
    return out;
  }

 private:
  std::string until(char end) {
    const std::size_t length = rest_.find(end);
    if (length == std::string_view::npos) throw std::runtime_error(std::string("no ") + end);
    const std::string out(rest_.substr(0, length));
    rest_.remove_prefix(length + 1);
    return out;
  }

  static std::string decoded(std::string_view escaped) {
    static const std::map<std::string_view, char> kEntities = {
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"#39", '\''}};
    std::string out;
    while (!escaped.empty()) {
      if (escaped.front() == '<') throw std::runtime_error("a bare <");
      if (escaped.front() != '&') {
        out += escaped.front();
        escaped.remove_prefix(1);
        continue;
      }
      const std::size_t end = escaped.find(';');
      out += kEntities.at(escaped.substr(1, end - 1));
      escaped.remove_prefix(end + 1);
    }
    return out;
  }

  /// White space as a browser shows it.
  static std::string shown(const std::string& text) {
    std::istringstream words(text);
    std::string out, word;
    while (words >> word) out += (out.empty() ? "" : " ") + word;
    return out;
  }

  void text() {
    const std::size_t length = std::min(rest_.find('<'), rest_.size());
    const std::string decoded_text = decoded(rest_.substr(0, length));
    if (elements_[open_.back()].tag != "style") {
      for (const std::size_t element : open_) elements_[element].text += decoded_text;
    }
    rest_.remove_prefix(length);
  }

  void tag() {
    rest_.remove_prefix(1);
    if (rest_.front() == '/') {
      rest_.remove_prefix(1);
      const std::string name = until('>');
      if (elements_[open_.back()].tag != name)
        throw std::runtime_error("closed out of order: " + name);
      elements_[open_.back()].text = shown(elements_[open_.back()].text);
      open_.pop_back();
      return;
    }
    Element element;
    element.parent = open_.back();
    while (std::isalnum(static_cast<unsigned char>(rest_.front())) != 0) {
      element.tag += rest_.front();
      rest_.remove_prefix(1);
    }
    while (rest_.front() == ' ') {
      rest_.remove_prefix(1);
      const std::string name = until('=');
      if (until('"') != "") throw std::runtime_error("not quoted: " + name);
      if (!element.attributes.emplace(name, decoded(until('"'))).second) {
        throw std::runtime_error("twice: " + name);
      }
    }
    const std::string end = until('>');
    if (end != "" && end != "/") throw std::runtime_error("<" + element.tag + " ends in " + end);
    elements_.push_back(element);
    if (element.tag == "br") elements_[open_.back()].text += ' ';
    if (end.empty()) open_.push_back(elements_.size() - 1);
  }

  std::string_view rest_;
  std::vector<Element> elements_;
  std::vector<std::size_t> open_ = {0};
};

}  // namespace slackline::testing_support
