#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slackline::group {

using Time = std::chrono::steady_clock::time_point;

/// Owns a descriptor of the system.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] bool is_open() const noexcept { return number_ >= 0; }
  void close() noexcept { *this = Descriptor(); }

 private:
  int number_ = -1;
};

/// Where a process listens: an address as text, or a host's name.
struct Address {
  std::string host;
  std::uint16_t port = 0;
};

/// All sockets are non-blocking and do not survive exec.

/// Listens on the port of this machine (0: any that is free): under a name of the loopback
/// interface only there, else on all interfaces, as the name of a machine may mean another
/// interface to itself than to others. Throws IoError.
[[nodiscard]] Descriptor listen_at(const Address& address);
/// At a free port of the loopback interface only; `host` becomes its address there.
[[nodiscard]] Descriptor listen_on_loopback(std::string& host);
[[nodiscard]] std::uint16_t port_of(const Descriptor& listener);
[[nodiscard]] bool is_loopback(const std::string& host);

/// The next connection that waits, or none. `from` becomes the peer's address.
[[nodiscard]] std::optional<Descriptor> accept_from(const Descriptor& listener, Address& from);

/// All that the host has, as text. Without a result, `problem` says why.
[[nodiscard]] std::vector<Address> addresses_of(const Address& named, std::string& problem);

/// Tries one address, no name, until the deadline at most. Without a result, `problem` says why.
[[nodiscard]] Descriptor connect_to(const Address& address, Time deadline, std::string& problem);

/// Addresses of this machine by which others may reach it; the loopback interface's come last.
[[nodiscard]] std::vector<std::string> own_addresses();
[[nodiscard]] std::string own_host_name();

/// Waits until the descriptor can be read or written, or the deadline: whether it can.
[[nodiscard]] bool wait_for(const Descriptor& descriptor, short events, Time deadline);

/// From now until then in whole milliseconds, rounded up, for poll().
[[nodiscard]] int milliseconds_until(Time deadline);

/// send() and recv() that go on after a signal. Bytes, 0 if nothing can be done now, or -1 if the
/// connection is over; then `problem` says why.
[[nodiscard]] std::int64_t send_some(const Descriptor& socket, const void* bytes, std::size_t size,
                                     std::string& problem);
[[nodiscard]] std::int64_t receive_some(const Descriptor& socket, void* bytes, std::size_t size,
                                        std::string& problem);

}  // namespace slackline::group
