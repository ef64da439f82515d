#pragma once

#include <optional>
#include <span>
#include <string>

#include "run_files.h"

namespace slackline::app {

/// The page about these runs (1..kPaletteSize), in the order given: one HTML document that needs
/// nothing else, and is well-formed XML. `comparison` is what `slackline compare --json` wrote.
///
/// Errors     DataError, naming the file, if a value in it is not of its type.
std::string report_page(std::span<const RunFiles> runs,
                        const std::optional<Document>& comparison = std::nullopt);

}  // namespace slackline::app
