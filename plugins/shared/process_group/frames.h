#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sockets.h"

namespace slackline::group {

inline constexpr std::uint16_t kProtocol = 2;

/// What is said at the rendezvous and over the connections for heartbeats. README.md has the
/// grammar.
enum class FrameType : std::uint16_t {
  kHello = 1,  ///< to rank 0: who comes
  kWelcome,    ///< from rank 0: who is there, and where
  kRefused,    ///< from rank 0: why the group will not be
  kLink,       ///< the first on a connection between two ranks
  kReady,      ///< from rank 0: you are taken in; to it: all connections stand
  kGo,         ///< from rank 0: everybody's do
  kHeartbeat,
  kGoodbye,  ///< this rank ends, and all is well
  kFailed    ///< a rank is lost: a suspicion, to rank 0; the verdict, from it
};

struct Frame {
  FrameType type = FrameType::kHeartbeat;
  std::string payload;
};

/// Builds a payload: numbers little-endian, texts behind their length.
class PayloadWriter {
 public:
  PayloadWriter& number(std::uint32_t value);
  PayloadWriter& string(std::string_view value);
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

/// Takes a payload apart. What is not there, or too long, makes it bad, and reads as 0 or empty.
class PayloadReader {
 public:
  explicit PayloadReader(std::string_view bytes) : rest_(bytes) {}
  std::uint32_t number();
  /// Of 1 KiB at most. Characters that do not print become '?': it is meant for messages.
  std::string string();
  /// Whether all was there, and nothing is left.
  [[nodiscard]] bool is_good() const noexcept { return is_good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool is_good_ = true;
};

[[nodiscard]] std::string encode(FrameType type, std::string_view payload = {});

/// Reads the frames of a connection, and not one byte more: what follows may be another's to read.
class FrameReader {
 public:
  enum class Result { kFrame, kNothingYet, kClosed, kBad };
  /// After kBad, problem() says what was wrong with what came: it is no peer of ours.
  [[nodiscard]] Result read(const Descriptor& socket, Frame& frame);
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

 private:
  static constexpr std::size_t kHeader = 12;
  std::array<char, kHeader> header_{};
  std::string payload_;
  std::size_t got_ = 0;  ///< bytes of header and payload
  std::string problem_;
};

/// Waits until all is sent; false if the connection broke, or at the deadline.
[[nodiscard]] bool send_all(const Descriptor& socket, std::string_view bytes, Time deadline);

}  // namespace slackline::group
