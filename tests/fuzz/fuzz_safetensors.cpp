// SafetensorsFile on any bytes: tensors that fill the file without overlap and can be read, or
// DataError.

#include <slackline/error.h>
#include <slackline/safetensors.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto read_at = [&](std::uint64_t offset, std::span<std::byte> into) {
    if (offset > size || into.size() > size - offset) std::abort();
    std::memcpy(into.data(), data + offset, into.size());
  };
  try {
    const slackline::SafetensorsFile file("fuzzed", size, read_at);
    std::uint64_t covered = 0;
    float sum = 0;
    for (const slackline::StoredTensor& tensor : file.tensors()) {
      if (file.find(tensor.name) != &tensor) std::abort();
      covered += tensor.bytes;
      std::vector<float> values(tensor.values());  // no more than the file has bytes
      file.read(tensor, values);
      for (const float value : values) sum += value;
    }
    if (covered > size) std::abort();
    const volatile float kept = sum + static_cast<float>(file.crc32c_of_first(size));
    (void)kept;
  } catch (const slackline::DataError&) {
  }
  return 0;
}
