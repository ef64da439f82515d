// parse_imagenet_example() on any bytes: an Example whose parts lie within the input, or DataError.

#include <slackline/error.h>
#include <slackline/tf_example.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

namespace {

using slackline::FloatList;

/// Reads the first and the last byte: all of it is ours, or a sanitizer complains.
void touch(std::string_view part, std::span<const std::byte> whole) {
  if (part.empty()) return;
  const auto* const begin = reinterpret_cast<const std::byte*>(part.data());
  if (begin < whole.data() || begin + part.size() > whole.data() + whole.size()) std::abort();
  const volatile char ends = static_cast<char>(part.front() ^ part.back());
  (void)ends;
}

void touch(const FloatList& list) {
  float sum = 0;
  for (std::size_t i = 0; i < list.size(); ++i) sum += list[i];
  const volatile float kept = sum;
  (void)kept;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto example = slackline::parse_imagenet_example(bytes);
    touch(example.encoded, bytes);
    touch(example.class_text, bytes);
    for (const FloatList& list : {example.xmin, example.ymin, example.xmax, example.ymax}) {
      touch(list);
    }
  } catch (const slackline::DataError&) {
  }
  return 0;
}
