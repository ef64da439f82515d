#pragma once

#include <string>

#include "process_group/process_group.h"
#include "sockets.h"
#include "watch.h"

namespace slackline::group {

/// Where ranks meet: at an address, or where the file says.
struct Place {
  std::string file;
  bool is_local = false;  ///< all are on one host: its loopback interface will do
  Address address;        ///< if there is no file
};

/// Of Membership::rendezvous. Throws ConfigError if it makes no sense.
[[nodiscard]] Place parse_place(const std::string& rendezvous);

/// Meets the other ranks, of which there is at least one, and connects any two of them.
///
/// Errors     as join_group() says.
[[nodiscard]] Links meet_others(const Membership& membership, const GroupOptions& options);

}  // namespace slackline::group
