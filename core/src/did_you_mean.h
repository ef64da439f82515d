#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace slackline {

/// The candidate that `word` was probably meant to be: the nearest by insertions, deletions,
/// replacements and swaps of neighbours, if it is within a third of the word's length (at least
/// one). Empty if there is none.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace slackline
