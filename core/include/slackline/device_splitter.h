#pragma once

#include <slackline/batch.h>
#include <slackline/clock.h>

#include <cstdint>
#include <memory>

namespace slackline {

/// Deals one stream of batches out to several devices: batch k goes to device k mod N, in strict
/// turns. The thread that does it waits for the device whose turn it is, even if another has room:
/// as tf.data's MultiDeviceIterator does.
///
/// Lifecycle  construct, take the streams; they live as long as this. The thread starts at the
/// first
///            next() of any of them. Destruction cancels upstream, joins the thread and gives back
///            the batches that nobody took.
/// Threads    each stream as BatchStream says; upstream.next() is called by the thread alone.
/// Errors     an error of upstream reaches the device whose turn it was, in its place in the order.
class SLACKLINE_API DeviceSplitter {
 public:
  /// At most `slots_per_device` batches wait for each device. `upstream` and `clock` must outlive
  /// this.
  DeviceSplitter(BatchStream& upstream, std::int32_t device_count, std::int32_t slots_per_device,
                 Clock& clock);
  ~DeviceSplitter();

  /// The batches for one device. cancel() of any of them cancels all.
  [[nodiscard]] BatchStream& stream(std::int32_t device);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slackline
