#pragma once

// The section of a page that is drawn.

#include "page_parts.h"

namespace slackline::app {

/// Throughput, step times, where the time went, and the counters of the timeline.
void write_charts(Markup& out, Runs runs);

}  // namespace slackline::app
