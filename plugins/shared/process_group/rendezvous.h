#pragma once

#include "process_group/process_group.h"
#include "watch.h"

namespace slackline::group {

/// Meets the other ranks, of which there is at least one, and connects any two of them.
///
/// Errors     as join_group() says.
[[nodiscard]] Links meet_others(const Membership& membership, const GroupOptions& options);

}  // namespace slackline::group
