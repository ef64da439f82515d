#pragma once

#include <slackline/digest.h>
#include <slackline/export.h>
#include <slackline/transform.h>

#include <cstdint>
#include <span>

namespace slackline {

/// A place in the order of the data, from which reading can go on.
struct DataPosition {
  std::uint32_t epoch = 0;    ///< from 0
  std::uint64_t records = 0;  ///< of that epoch that come before; damaged ones count
};

/// Samples that are trained on together. A view: the stream that lent it owns the memory, which is
/// the host's before the upload and the device's after it.
struct Batch {
  std::span<const std::uint8_t> images;  ///< (size, H, W, C), RGB, 0..255, without padding
  std::span<const std::int32_t> labels;  ///< (size), class index from 0
  ImageShape shape;                      ///< of one image
  std::int32_t size = 0;                 ///< samples; below the configured size only at an end
                                         ///< or where bad samples were skipped
  std::uint32_t epoch = 0;               ///< from 0
  std::uint64_t index = 0;               ///< place in the stream, from 0
  DataPosition end;                      ///< of what follows this batch
  bool is_rest = false;                  ///< the data of its epoch ended before it was full
  BatchDigest digest;                    ///< of what it holds
  void* ready = nullptr;                 ///< device event after the last copy; null on the host
};

/// Lends one batch after another. Prefetchers and uploaders are streams that hold a stream.
///
/// Lifecycle  construct, next() until nullptr, destroy. Batches go back in any order, and all of
///            them before the stream is destroyed.
/// Threads    next() by one caller at a time; give_back() and cancel() by any thread.
/// Errors     next() rethrows what went wrong on the stream's own threads.
class SLACKLINE_API BatchStream {
 public:
  BatchStream() = default;
  BatchStream(const BatchStream&) = delete;
  BatchStream& operator=(const BatchStream&) = delete;
  virtual ~BatchStream();

  /// Waits for the next batch and lends it until give_back(). Returns nullptr at the end of the
  /// stream and after cancel(), and again at every further call.
  [[nodiscard]] virtual const Batch* next() = 0;

  /// Ends the loan of a batch that this stream's next() returned.
  virtual void give_back(const Batch* batch) noexcept = 0;

  /// Makes a waiting and every later next() return nullptr soon, and cancels the stream that it
  /// holds. For good.
  virtual void cancel() noexcept = 0;
};

}  // namespace slackline
