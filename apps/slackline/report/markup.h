#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slackline::app {

/// `text` as it may stand between tags and in attributes: the five characters with a meaning in
/// HTML are escaped; bytes that are no UTF-8 and control characters become U+FFFD.
std::string escaped(std::string_view text);

/// Writes HTML and SVG whose tags balance and whose text is escaped, so that what a file or a
/// directory is called cannot become markup. The result is well-formed XML too.
///
/// Lifecycle  open() and close() in pairs, leaf() and text() between them; then str(), once.
/// Threads    one caller.
/// Errors     none: a tag left open is an assert.
class Markup {
 public:
  using Attribute = std::pair<std::string_view, std::string>;
  using Attributes = std::initializer_list<Attribute>;

  /// Begins an element. `tag` is a literal.
  void open(std::string_view tag, Attributes attributes = {});
  /// Ends the innermost element that is open.
  void close();
  /// An element with nothing inside.
  void empty(std::string_view tag, Attributes attributes = {});
  /// An element with this text inside.
  void leaf(std::string_view tag, std::string_view text, Attributes attributes = {});
  void text(std::string_view text);
  /// Our own text that is not to be escaped: the style sheet.
  void verbatim(std::string_view text) { out_ += text; }

  [[nodiscard]] std::string str() &&;

 private:
  void begin(std::string_view tag, Attributes attributes);

  std::string out_;
  std::vector<std::string_view> open_;
};

}  // namespace slackline::app
