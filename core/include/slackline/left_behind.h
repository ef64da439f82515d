#pragma once

#include <slackline/export.h>

#include <string>
#include <vector>

namespace slackline {

/// Says that a thread was left behind in a call that does not return, which `call` names. The
/// process may go on, but must not end as usual: destructors of static objects, those of the
/// library that is called among them, would take away what the thread uses.
///
/// Threads    any.
SLACKLINE_API void leave_behind(const std::string& call);

/// The calls that were left behind so far. If there are any, the program ends by _exit().
[[nodiscard]] SLACKLINE_API std::vector<std::string> left_behind();

}  // namespace slackline
