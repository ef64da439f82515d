#include "frames.h"

#include <slackline/error.h>

#include <bit>
#include <cstring>

#include <poll.h>

namespace slackline::group {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are sent as they are in memory");

constexpr std::uint32_t kMagic = 0x4b4c5347;  ///< "GSLK"
/// A table of all ranks is the longest that is sent.
constexpr std::uint32_t kMaxPayload = 256 * 1024;
constexpr std::uint32_t kMaxString = 1024;

struct Header {
  std::uint32_t magic;
  std::uint16_t protocol;
  std::uint16_t type;
  std::uint32_t length;
};
static_assert(sizeof(Header) == 12);

}  // namespace

PayloadWriter& PayloadWriter::number(std::uint32_t value) {
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  return *this;
}

PayloadWriter& PayloadWriter::string(std::string_view value) {
  value = value.substr(0, kMaxString);
  number(static_cast<std::uint32_t>(value.size()));
  bytes_ += value;
  return *this;
}

std::uint32_t PayloadReader::number() {
  std::uint32_t value = 0;
  if (rest_.size() < sizeof value) {
    is_good_ = false;
    rest_ = {};
    return 0;
  }
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}

std::string PayloadReader::string() {
  const std::uint32_t size = number();
  if (size > kMaxString || size > rest_.size()) {
    is_good_ = false;
    rest_ = {};
    return {};
  }
  std::string value(rest_.substr(0, size));
  rest_.remove_prefix(size);
  for (char& each : value) {
    if (static_cast<unsigned char>(each) < 0x20 || each == 0x7f) each = '?';
  }
  return value;
}

std::string encode(FrameType type, std::string_view payload) {
  const Header header{kMagic, kProtocol, static_cast<std::uint16_t>(type),
                      static_cast<std::uint32_t>(payload.size())};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes += payload;
  return bytes;
}

FrameReader::Result FrameReader::read(const Descriptor& socket, Frame& frame) {
  for (;;) {
    Header header{};
    std::memcpy(&header, header_.data(), sizeof header);
    if (got_ >= kHeader && got_ == kHeader + header.length) {
      frame.type = static_cast<FrameType>(header.type);
      frame.payload = std::move(payload_);
      payload_.clear();
      got_ = 0;
      return Result::kFrame;
    }
    char* const to = got_ < kHeader ? header_.data() + got_ : payload_.data() + (got_ - kHeader);
    const std::size_t wanted = got_ < kHeader ? kHeader - got_ : kHeader + header.length - got_;
    const std::int64_t received = receive_some(socket, to, wanted, problem_);
    if (received < 0) return Result::kClosed;
    if (received == 0) return Result::kNothingYet;
    got_ += static_cast<std::size_t>(received);
    if (got_ != kHeader) continue;
    std::memcpy(&header, header_.data(), sizeof header);
    if (header.magic != kMagic) {
      problem_ = "it does not speak slackline's protocol";
      return Result::kBad;
    }
    if (header.protocol != kProtocol) {
      problem_ =
          text("it speaks version ", header.protocol, " of slackline's protocol, and this is ",
               kProtocol, "; all ranks must run the same slackline");
      return Result::kBad;
    }
    if (header.length > kMaxPayload) {
      problem_ = text("it announced a message of ", header.length, " bytes");
      return Result::kBad;
    }
    payload_.resize(header.length);
  }
}

bool send_all(const Descriptor& socket, std::string_view bytes, Time deadline) {
  std::string problem;
  while (!bytes.empty()) {
    const std::int64_t sent = send_some(socket, bytes.data(), bytes.size(), problem);
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
    if (sent == 0 && !wait_for(socket, POLLOUT, deadline)) return false;
  }
  return true;
}

}  // namespace slackline::group
