#pragma once

#include <slackline/options.h>

#include <string>
#include <vector>

namespace slackline::tfrecord {

/// The regular files that the patterns match, as tf.data's list_files gives them: all together
/// sorted by bytes, one that two patterns match twice, names that begin with a dot included.
///
/// A pattern that matches nothing may still be the name of a file with a bracket in it. Throws
/// ConfigError("files") if a pattern has no match or one that is no regular file, IoError if one
/// cannot be read.
[[nodiscard]] std::vector<std::string> list_files(const std::vector<Path>& patterns);

}  // namespace slackline::tfrecord
