// The prefetcher that does nothing: a batch is fetched, and uploaded, when it is asked for. What
// the others hide is what this one shows.

#include <slackline/plugin.h>
#include <slackline/prefetcher.h>

#include <memory>

#include "streams/pass_through_stream.h"

namespace slackline {
namespace {

class NonePrefetcher final : public Prefetcher {
 public:
  std::unique_ptr<BatchStream> wrap(BatchStream& upstream, const StreamEnd& /*end*/) override {
    return std::make_unique<PassThroughStream>(upstream);
  }
};

}  // namespace

SLACKLINE_PLUGIN(Prefetcher, NonePrefetcher, "none", "fetches each batch when it is asked for");

}  // namespace slackline
