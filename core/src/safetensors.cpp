#include <slackline/crc32c.h>
#include <slackline/error.h>
#include <slackline/safetensors.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

static_assert(std::endian::native == std::endian::little,
              "values are stored as they are in memory");

namespace slackline {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::size_t kPieceBytes = 1u << 18;
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  StoredType type;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<TypeName, 7> kTypes = {{{StoredType::kF64, "F64", 8},
                                             {StoredType::kF32, "F32", 4},
                                             {StoredType::kF16, "F16", 2},
                                             {StoredType::kBf16, "BF16", 2},
                                             {StoredType::kI64, "I64", 8},
                                             {StoredType::kU32, "U32", 4},
                                             {StoredType::kU8, "U8", 1}}};

const TypeName& entry_of(StoredType type) noexcept {
  const auto* const found = std::find_if(kTypes.begin(), kTypes.end(),
                                         [&](const TypeName& each) { return each.type == type; });
  assert(found != kTypes.end());
  return *found;
}

/// Bytes of a tensor; nothing if they are more than 64 bits can count, or an extent is negative.
std::optional<std::uint64_t> bytes_of(std::span<const std::int64_t> shape, StoredType type) {
  // An extent of 0 makes 0 of any product: also of one that would be too large.
  if (std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent < 0; })) {
    return std::nullopt;
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::uint64_t bytes = size_of(type);
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

/// A name from a file as it may stand in a message: short, and without control characters.
std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 100;
  std::string out;
  for (const char c : name.substr(0, kLongest)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + (name.size() > kLongest ? "…" : "");
}

/// One tensor as the header describes it.
struct Described {
  std::string name;
  std::optional<std::string> type;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::int64_t>> offsets;
};

/// The events of a parser for the one form that a header may have. Returning false ends parsing;
/// `problem` says why. No value is kept that has not its place in that form, so that memory is
/// bounded by the length of the text.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  std::string problem;
  SafetensorsMetadata metadata;
  std::vector<Described> tensors;

  bool null() override { return misplaced("null"); }
  bool boolean(bool /*value*/) override { return misplaced("a boolean"); }
  bool number_float(number_float_t /*value*/, const string_t& digits) override {
    return misplaced("the number " + shown(digits));
  }
  bool binary(binary_t& /*value*/) override { return misplaced("binary data"); }

  bool number_integer(number_integer_t value) override {
    return misplaced("the number " + std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kNumbers) return misplaced("the number " + std::to_string(value));
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return fail(text(where(), ": ", key_, " has ", value, ", which is too large"));
    }
    numbers_->push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") return misplaced("a string");
    tensors.back().type = std::move(value);
    return true;
  }

  bool start_object(std::size_t /*size*/) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        if (key_ == kMetadataKey) {
          place_ = Place::kMetadata;
        } else {
          place_ = Place::kTensor;
          tensors.push_back({.name = key_, .type = {}, .shape = {}, .offsets = {}});
        }
        return true;
      default:
        return misplaced("an object");
    }
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    std::vector<std::string>& keys = place_ == Place::kTop ? top_keys_ : inner_keys_;
    if (place_ == Place::kTensor) {
      if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
        return fail(text(where(), " has a key '", shown(key_),
                         "'; there are dtype, shape and data_offsets"));
      }
      if (std::find(keys.begin(), keys.end(), key_) != keys.end()) {
        return fail(text(where(), " has ", key_, " twice"));
      }
    }
    keys.push_back(key_);
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTop) {
      place_ = Place::kEnd;
      return has_no_key_twice(top_keys_, "there are two tensors");
    }
    if (place_ == Place::kMetadata && !has_no_key_twice(inner_keys_, "the metadata has two keys")) {
      return false;
    }
    place_ = Place::kTop;
    inner_keys_.clear();
    return true;
  }

  bool start_array(std::size_t /*size*/) override {
    if (place_ != Place::kTensor || key_ == "dtype") return misplaced("a list");
    auto& list = key_ == "shape" ? tensors.back().shape : tensors.back().offsets;
    numbers_ = &list.emplace();
    place_ = Place::kNumbers;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return fail(text("it is no JSON from byte ", position, " of the header on"));
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kNumbers, kEnd };

  bool fail(std::string what) {
    problem = std::move(what);
    return false;
  }

  [[nodiscard]] std::string where() const {
    return tensors.empty() ? std::string("the header")
                           : "tensor '" + shown(tensors.back().name) + "'";
  }

  bool misplaced(const std::string& what) {
    switch (place_) {
      case Place::kOutside:
      case Place::kEnd:
        return fail(text("the header is ", what, ", but must be an object"));
      case Place::kTop:
        return fail(text("'", shown(key_), "' is ", what, ", but must be an object"));
      case Place::kMetadata:
        return fail(text("the metadata's '", shown(key_), "' is ", what, ", but must be a string"));
      case Place::kTensor:
        return fail(text(where(), ": ", key_, " is ", what, ", but must be ",
                         key_ == "dtype" ? "a string" : "a list of whole numbers from 0"));
      case Place::kNumbers:
        return fail(
            text(where(), ": ", key_, " holds ", what, ", but must hold whole numbers from 0"));
    }
    return false;
  }

  /// Sorts `keys`.
  bool has_no_key_twice(std::vector<std::string>& keys, const char* what) {
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice == keys.end()) return true;
    return fail(text(what, " of the name '", shown(*twice), "'"));
  }

  Place place_ = Place::kOutside;
  std::string key_;
  std::vector<std::string> top_keys_, inner_keys_;
  std::vector<std::int64_t>* numbers_ = nullptr;
};

float float_of_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {  // zero, or a multiple of 2^-24
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

/// `Stored` values in `bytes`, each turned into a float.
template <class Stored, class Convert>
void convert(std::span<const std::byte> bytes, std::span<float> values, const Convert& to_float) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = to_float(stored);
  }
}

void convert(StoredType type, std::span<const std::byte> bytes, std::span<float> values) {
  const auto as_number = [](auto value) { return static_cast<float>(value); };
  switch (type) {
    case StoredType::kF64:
      return convert<double>(bytes, values, as_number);
    case StoredType::kF32:
      return convert<float>(bytes, values, as_number);
    case StoredType::kF16:
      return convert<std::uint16_t>(bytes, values, float_of_half);
    case StoredType::kBf16:
      return convert<std::uint16_t>(bytes, values, [](std::uint16_t value) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
      });
    case StoredType::kI64:
      return convert<std::int64_t>(bytes, values, as_number);
    case StoredType::kU32:
      return convert<std::uint32_t>(bytes, values, as_number);
    case StoredType::kU8:
      return convert<std::uint8_t>(bytes, values, as_number);
  }
}

std::uint64_t size_of_open_file(int descriptor, const std::string& name) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw IoError(name + ": cannot read", errno);
  if (!S_ISREG(status.st_mode)) throw DataError(name + ": is no regular file");
  return static_cast<std::uint64_t>(status.st_size);
}

void read_all(int descriptor, const std::string& name, std::uint64_t offset,
              std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(name + ": cannot read", errno);
    if (got == 0) throw DataError(text(name, ": became shorter while it was read"));
    offset += static_cast<std::uint64_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace

std::string_view name_of(StoredType type) noexcept { return entry_of(type).name; }
std::size_t size_of(StoredType type) noexcept { return entry_of(type).size; }

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (const std::int64_t extent : shape) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(extent);
  }
  return out + "]";
}

SafetensorsWriter::SafetensorsWriter(Sink sink, std::vector<StoredTensor> tensors,
                                     const SafetensorsMetadata& metadata)
    : sink_(std::move(sink)) {
  Json json = Json::object();
  if (!metadata.empty()) json[kMetadataKey] = metadata;
  for (StoredTensor& tensor : tensors) {
    const auto bytes = bytes_of(tensor.shape, tensor.type);
    assert(bytes.has_value());
    tensor.begin = missing_;
    tensor.bytes = *bytes;
    missing_ += tensor.bytes;
    json[tensor.name] = {{"dtype", name_of(tensor.type)},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, missing_}}};
  }
  // Names and metadata may hold any bytes; JSON must be UTF-8.
  std::string header = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the values stand on multiples of 8
  if (header.size() > kLongestSafetensorsHeader) {
    throw DataError(text("a header of ", header.size(), " bytes for ", tensors.size(),
                         " tensors is longer than the ", kLongestSafetensorsHeader,
                         " that are read again"));
  }
  const std::uint64_t length = header.size();
  std::array<char, kLengthBytes> length_bytes{};
  std::memcpy(length_bytes.data(), &length, kLengthBytes);
  write({length_bytes.data(), length_bytes.size()});
  write(header);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  assert(bytes.size() <= missing_);
  missing_ -= bytes.size();
  write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void SafetensorsWriter::write(std::string_view bytes) {
  crc_ = slackline::crc32c(std::as_bytes(std::span(bytes)), crc_);
  sink_(bytes);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : name_(file.string()) {
  const int opened = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0) throw IoError(name_ + ": cannot open", errno);
  const std::shared_ptr<const int> descriptor(new int(opened), [](const int* handle) {
    ::close(*handle);
    delete handle;
  });
  size_ = size_of_open_file(*descriptor, name_);
  read_at_ = [descriptor, name = name_](std::uint64_t offset, std::span<std::byte> into) {
    read_all(*descriptor, name, offset, into);
  };
  read_header();
}

SafetensorsFile::SafetensorsFile(std::string name, std::uint64_t size, ReadAt read_at)
    : name_(std::move(name)), size_(size), read_at_(std::move(read_at)) {
  read_header();
}

void SafetensorsFile::read_header() {
  const auto bad = [&](const auto&... what) { throw DataError(text(name_, ": ", what...)); };
  if (size_ < kLengthBytes) {
    bad("is no safetensors file: it has ", size_, " bytes, and needs 8 for the header's length");
  }
  std::uint64_t length = 0;
  read_bytes(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > kLongestSafetensorsHeader) {
    bad("is no safetensors file: its header has ", length, " bytes, and at most ",
        kLongestSafetensorsHeader, " are allowed");
  }
  if (length > size_ - kLengthBytes) {
    bad("its header has ", length, " bytes, but only ", size_ - kLengthBytes,
        " follow its length: the file is cut short");
  }
  std::string header(length, '\0');
  read_bytes(kLengthBytes, std::as_writable_bytes(std::span(header)));
  if (header.empty() || header.front() != '{') bad("its header does not begin with '{'");

  HeaderReader reader;
  if (!Json::sax_parse(header, &reader)) bad("bad header: ", reader.problem);
  metadata_ = std::move(reader.metadata);
  const std::uint64_t data = kLengthBytes + length;
  for (Described& each : reader.tensors) {
    const std::string where = "tensor '" + shown(each.name) + "'";
    if (!each.type || !each.shape || !each.offsets) {
      bad(where, ": has no ", !each.type ? "dtype" : !each.shape ? "shape" : "data_offsets");
    }
    const auto* const type = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& known) {
      return known.name == *each.type;
    });
    if (type == kTypes.end()) {
      bad(where, ": dtype '", shown(*each.type),
          "' is not known; there are F64, F32, F16, BF16, I64, U32 and U8");
    }
    if (each.offsets->size() != 2) {
      bad(where, ": data_offsets has ", each.offsets->size(), " numbers, and must have 2");
    }
    const auto begin = static_cast<std::uint64_t>(each.offsets->front());
    const auto end = static_cast<std::uint64_t>(each.offsets->back());
    if (begin > end || end > size_ - data) {
      bad(where, ": data_offsets ", shape_text(*each.offsets), " do not lie within the ",
          size_ - data, " bytes of data");
    }
    const auto bytes = bytes_of(*each.shape, type->type);
    if (!bytes.has_value() || *bytes != end - begin) {
      bad(where, ": shape ", shape_text(*each.shape), " of ", type->name, " needs ",
          bytes ? std::to_string(*bytes) : "more than 2^64", " bytes, and has ", end - begin);
    }
    tensors_.push_back({.name = std::move(each.name),
                        .type = type->type,
                        .shape = std::move(*each.shape),
                        .begin = data + begin,
                        .bytes = *bytes});
  }
  check_layout(data);
}

/// That the tensors fill everything from byte `at` on, without gap and without overlap.
void SafetensorsFile::check_layout(std::uint64_t at) {
  const auto bad = [&](const auto&... what) { throw DataError(text(name_, ": ", what...)); };
  std::stable_sort(tensors_.begin(), tensors_.end(),
                   [](const StoredTensor& a, const StoredTensor& b) {
                     return std::pair(a.begin, a.bytes) < std::pair(b.begin, b.bytes);
                   });
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
  for (const StoredTensor& tensor : tensors_) {
    if (tensor.begin != at) {
      bad("tensor '", shown(tensor.name), "': begins at byte ", tensor.begin,
          " of the file, but what is before it ends at byte ", at);
    }
    at += tensor.bytes;
  }
  if (at != size_) bad("its tensors end at byte ", at, ", but it has ", size_, " bytes");
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsFile::read(const StoredTensor& tensor, std::span<float> values) const {
  assert(values.size() == tensor.values());
  if (tensor.type == StoredType::kF32) {
    return read_bytes(tensor.begin, std::as_writable_bytes(values));
  }
  const std::size_t size = size_of(tensor.type);
  std::vector<std::byte> piece(std::min<std::uint64_t>(kPieceBytes, tensor.bytes));
  std::uint64_t offset = tensor.begin;
  while (!values.empty()) {
    const std::size_t count = std::min(values.size(), kPieceBytes / size);
    const std::span<std::byte> bytes = std::span(piece).first(count * size);
    read_bytes(offset, bytes);
    convert(tensor.type, bytes, values.first(count));
    offset += bytes.size();
    values = values.subspan(count);
  }
}

void SafetensorsFile::read_bytes(std::uint64_t offset, std::span<std::byte> into) const {
  assert(offset <= size_ && into.size() <= size_ - offset);
  if (!into.empty()) read_at_(offset, into);
}

std::uint32_t SafetensorsFile::crc32c_of_first(std::uint64_t bytes) const {
  assert(bytes <= size_);
  std::vector<std::byte> piece(std::min<std::uint64_t>(kPieceBytes, bytes));
  std::uint32_t crc = 0;
  for (std::uint64_t at = 0; at < bytes;) {
    const auto next = std::span(piece).first(std::min<std::uint64_t>(kPieceBytes, bytes - at));
    read_bytes(at, next);
    crc = slackline::crc32c(next, crc);
    at += next.size();
  }
  return crc;
}

}  // namespace slackline
