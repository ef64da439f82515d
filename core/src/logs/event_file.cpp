#include "event_file.h"

#include <slackline/crc32c.h>
#include <slackline/error.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <span>

#include <unistd.h>

namespace slackline {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <class Unsigned>
void append_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
}

/// A protobuf message under construction: fields in the order of the calls.
class Message {
 public:
  Message& varint(std::uint32_t field, std::uint64_t value) {
    tag(field, 0);
    append_varint(value);
    return *this;
  }
  Message& fixed64(std::uint32_t field, double value) {
    tag(field, 1);
    append_little_endian(out_, std::bit_cast<std::uint64_t>(value));
    return *this;
  }
  Message& bytes(std::uint32_t field, std::string_view value) {
    tag(field, 2);
    append_varint(value.size());
    out_ += value;
    return *this;
  }
  Message& message(std::uint32_t field, const Message& value) { return bytes(field, value.out_); }
  /// A packed repeated float with one item.
  Message& packed_float(std::uint32_t field, float value) {
    std::string item;
    append_little_endian(item, std::bit_cast<std::uint32_t>(value));
    return bytes(field, item);
  }

  [[nodiscard]] const std::string& text() const { return out_; }

 private:
  void tag(std::uint32_t field, std::uint32_t wire_type) {
    append_varint((std::uint64_t{field} << 3) | wire_type);
  }
  void append_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(0x80 | (value & 0x7f));
    out_ += static_cast<char>(value);
  }

  std::string out_;
};

// Numbers of fields, from tensorflow's event.proto, summary.proto and tensor.proto.
namespace event {
constexpr std::uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session_log {
constexpr std::uint32_t kStatus = 1;
constexpr std::uint64_t kStart = 1;
}  // namespace session_log
namespace summary {
constexpr std::uint32_t kValue = 1;
}
namespace value {
constexpr std::uint32_t kTag = 1, kTensor = 8, kMetadata = 9;
}
namespace metadata {
constexpr std::uint32_t kPluginData = 1, kDataClass = 4;
constexpr std::uint64_t kScalar = 1;
}  // namespace metadata
namespace plugin_data {
constexpr std::uint32_t kPluginName = 1;
}
namespace tensor {
constexpr std::uint32_t kDtype = 1, kShape = 2, kFloatVal = 5;
constexpr std::uint64_t kFloat = 1;
}  // namespace tensor

Message event_at(const EventTime& time) {
  Message out;
  out.fixed64(event::kWallTime, time.unix_s)
      .varint(event::kStep, static_cast<std::uint64_t>(time.step));
  return out;
}

}  // namespace

std::string file_version_event(double unix_s) {
  return Message()
      .fixed64(event::kWallTime, unix_s)
      .bytes(event::kFileVersion, "brain.Event:2")
      .text();
}

std::string session_start_event(const EventTime& time) {
  return event_at(time)
      .message(event::kSessionLog, Message().varint(session_log::kStatus, session_log::kStart))
      .text();
}

std::string scalars_event(const EventTime& time, const std::vector<Scalar>& scalars) {
  Message all;
  for (const Scalar& scalar : scalars) {
    all.message(summary::kValue,
                Message()
                    .bytes(value::kTag, scalar.tag)
                    .message(value::kTensor,
                             Message()
                                 .varint(tensor::kDtype, tensor::kFloat)
                                 .message(tensor::kShape, Message())
                                 .packed_float(tensor::kFloatVal, static_cast<float>(scalar.value)))
                    .message(value::kMetadata,
                             Message()
                                 .message(metadata::kPluginData,
                                          Message().bytes(plugin_data::kPluginName, "scalars"))
                                 .varint(metadata::kDataClass, metadata::kScalar)));
  }
  return event_at(time).message(event::kSummary, all).text();
}

std::string tfrecord_frame(std::string_view bytes) {
  std::string out;
  append_little_endian(out, std::uint64_t{bytes.size()});
  append_little_endian(out, masked_crc32c(bytes_of(out)));
  out += bytes;
  append_little_endian(out, masked_crc32c(bytes_of(bytes)));
  return out;
}

std::string event_file_name(double unix_s, const std::string& host) {
  static std::atomic<std::uint64_t> count{0};
  return text("events.out.tfevents.", static_cast<std::int64_t>(std::floor(unix_s)), ".",
              host.empty() ? "localhost" : host, ".", getpid(), ".", count++, ".v2");
}

EventFile::EventFile(FileOps& files, const std::filesystem::path& path, const EventTime& start)
    : file_(files, path) {
  append(file_version_event(start.unix_s));
  append(session_start_event(start));
}

}  // namespace slackline
