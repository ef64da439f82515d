#include "sockets.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace slackline::group {
namespace {

constexpr int kKind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

std::string describe(int error) { return std::generic_category().message(error); }

/// As text, with the interface that an address of one link needs; IPv4 in IPv6 as IPv4. Empty if
/// it is neither.
std::string name_of(const sockaddr* address) {
  std::array<char, NI_MAXHOST> name{};
  const bool is_v4 = address->sa_family == AF_INET;
  ::getnameinfo(address, is_v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6), name.data(),
                name.size(), nullptr, 0, NI_NUMERICHOST);
  const std::string result = name.data();
  const bool is_mapped =
      address->sa_family == AF_INET6 &&
      IN6_IS_ADDR_V4MAPPED(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  return is_mapped ? result.substr(result.rfind(':') + 1) : result;
}

std::uint16_t port_of(const sockaddr_storage& address) {
  const auto* const any = reinterpret_cast<const sockaddr*>(&address);
  return ntohs(any->sa_family == AF_INET ? reinterpret_cast<const sockaddr_in*>(any)->sin_port
                                         : reinterpret_cast<const sockaddr_in6*>(any)->sin6_port);
}

/// A gradient's last bytes must not wait for the acknowledgement of those before.
void send_at_once(const Descriptor& socket) {
  const int on = 1;
  ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

using Resolved = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Resolved resolve(const Address& address, std::string& problem) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const int failed = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (failed != 0) problem = text("cannot find '", address.host, "': ", ::gai_strerror(failed));
  return {found, &::freeaddrinfo};
}

/// Binds and listens, or says why not.
int try_listen(Descriptor& socket, const sockaddr* address, socklen_t size) {
  const int on = 1;
  const int off = 0;
  // An earlier run's connections may linger at the port for a minute.
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address->sa_family == AF_INET6) {
    ::setsockopt(socket.number(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (::bind(socket.number(), address, size) != 0) return errno;
  return ::listen(socket.number(), SOMAXCONN) == 0 ? 0 : errno;
}

Descriptor try_connect(const addrinfo& to, Time deadline, std::string& problem) {
  Descriptor socket(::socket(to.ai_family, kKind, 0));
  if (!socket.is_open()) {
    problem = describe(errno);
    return {};
  }
  if (::connect(socket.number(), to.ai_addr, to.ai_addrlen) != 0) {
    int error = errno;
    if (error == EINPROGRESS || error == EINTR) {
      if (!wait_for(socket, POLLOUT, deadline)) {
        error = ETIMEDOUT;
      } else {
        socklen_t size = sizeof error;
        ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
      }
    }
    if (error != 0) {
      problem = text(name_of(to.ai_addr), ": ", describe(error));
      return {};
    }
  }
  // A connection to a free port of this machine may meet itself (TCP's simultaneous open).
  sockaddr_storage own{};
  sockaddr_storage peer{};
  socklen_t own_size = sizeof own;
  socklen_t peer_size = sizeof peer;
  ::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&own), &own_size);
  ::getpeername(socket.number(), reinterpret_cast<sockaddr*>(&peer), &peer_size);
  if (own_size == peer_size && std::memcmp(&own, &peer, own_size) == 0) {
    problem = text(name_of(to.ai_addr), ": nobody listens");
    return {};
  }
  send_at_once(socket);
  return socket;
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

Descriptor listen_at(const Address& address) {
  const std::string doing = text("rendezvous: cannot listen at ", address.host, ":", address.port);
  int error = EADDRNOTAVAIL;
  if (is_loopback(address.host)) {
    std::string problem;
    const Resolved found = resolve(address, problem);
    for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
      Descriptor socket(::socket(at->ai_family, kKind, 0));
      error = socket.is_open() ? try_listen(socket, at->ai_addr, at->ai_addrlen) : errno;
      if (error == 0) return socket;
    }
    throw IoError(doing, error);
  }
  Descriptor socket(::socket(AF_INET6, kKind, 0));
  if (socket.is_open()) {
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(address.port);
    error = try_listen(socket, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    if (error == 0) return socket;
    if (error == EADDRINUSE) throw IoError(doing, error);
  }
  // This machine has no IPv6.
  socket = Descriptor(::socket(AF_INET, kKind, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(address.port);
  error = socket.is_open() ? try_listen(socket, reinterpret_cast<const sockaddr*>(&any), sizeof any)
                           : errno;
  if (error != 0) throw IoError(doing, error);
  return socket;
}

Descriptor listen_on_loopback(std::string& host) {
  try {
    host = "127.0.0.1";
    return listen_at({host, 0});
  } catch (const IoError&) {
    // This machine has no IPv4.
    host = "::1";
    return listen_at({host, 0});
  }
}

std::uint16_t port_of(const Descriptor& listener) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  ::getsockname(listener.number(), reinterpret_cast<sockaddr*>(&own), &size);
  return port_of(own);
}

std::optional<Descriptor> accept_from(const Descriptor& listener, Address& from) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  Descriptor socket(::accept4(listener.number(), reinterpret_cast<sockaddr*>(&peer), &size,
                              SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket.is_open()) return std::nullopt;
  send_at_once(socket);
  from = {name_of(reinterpret_cast<const sockaddr*>(&peer)), port_of(peer)};
  return socket;
}

std::vector<Address> addresses_of(const Address& named, std::string& problem) {
  std::vector<Address> result;
  const Resolved found = resolve(named, problem);
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    result.push_back({name_of(at->ai_addr), named.port});
  }
  return result;
}

Descriptor connect_to(const Address& address, Time deadline, std::string& problem) {
  const Resolved found = resolve(address, problem);
  return found == nullptr ? Descriptor() : try_connect(*found, deadline, problem);
}

std::vector<std::string> own_addresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0)
    throw IoError("rendezvous: cannot list this host's addresses", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);
  std::vector<std::string> result;
  std::vector<std::string> loopback;
  for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
    const std::string name = name_of(at->ifa_addr);
    // Addresses of one link mean nothing without the name of its interface.
    if (name.empty() || name.rfind("fe80:", 0) == 0) continue;
    ((at->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : result).push_back(name);
  }
  result.insert(result.end(), loopback.begin(), loopback.end());
  return result;
}

std::string own_host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

int milliseconds_until(Time deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
}

bool wait_for(const Descriptor& descriptor, short events, Time deadline) {
  for (;;) {
    pollfd entry{descriptor.number(), events, 0};
    const int ready = ::poll(&entry, 1, milliseconds_until(deadline));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

std::int64_t send_some(const Descriptor& socket, const void* bytes, std::size_t size,
                       std::string& problem) {
  for (;;) {
    const ssize_t sent = ::send(socket.number(), bytes, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    problem = describe(errno);
    return -1;
  }
}

std::int64_t receive_some(const Descriptor& socket, void* bytes, std::size_t size,
                          std::string& problem) {
  for (;;) {
    const ssize_t got = ::recv(socket.number(), bytes, size, 0);
    if (got > 0) return got;
    if (got == 0) {
      problem = "closed";
      return -1;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    problem = describe(errno);
    return -1;
  }
}

}  // namespace slackline::group
