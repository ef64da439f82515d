#pragma once

// A batch in host memory while its slots are being filled.

#include <slackline/bad_samples.h>
#include <slackline/batch.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace slackline {

/// Memory for one batch, and the state of its slots.
///
/// Threads    a slot belongs to the worker that fills it; finish() to whoever let go last.
class HostBatch {
 public:
  HostBatch(const ImageShape& shape, std::int32_t capacity);

  /// Empties it for use as batch `index` of the stream.
  void open(std::uint32_t epoch, std::uint64_t index);

  [[nodiscard]] SampleSlot slot(std::int32_t i) noexcept;
  /// What is known of the sample in slot `i`: its label, and its items of the digests.
  void set_sample(std::int32_t i, std::int32_t label, std::uint64_t order_item,
                  std::uint64_t pixels_item) noexcept {
    labels_[i] = label;
    items_[i] = {order_item, pixels_item};
  }
  /// Says that slot `i` holds no sample. At most once for each slot; any thread.
  void mark_bad(std::int32_t i, BadSample why);
  /// Says that the run cannot go on after this batch. The error of the first slot counts; any
  /// thread.
  void fail(std::int32_t i, std::exception_ptr error);

  /// One more, one fewer that still writes to this batch. Letting go last returns true.
  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] bool let_go() noexcept {
    return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  /// No more slots are handed out: `end` is where the data go on.
  void seal(const DataPosition& end, bool is_rest) noexcept {
    view_.end = end;
    view_.is_rest = is_rest;
  }

  /// Makes the view of the first `filled` slots, after taking out or replacing bad ones.
  void finish(std::int32_t filled, BadSamplePolicy policy);

  [[nodiscard]] const Batch& view() const noexcept { return view_; }
  /// In slot order; without those behind the slot of error(), which depend on timing.
  [[nodiscard]] std::vector<BadSample> take_bad_samples();
  [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }

  // Written by the BatchReader under its locks.
  std::int32_t filled = 0;  ///< slots handed out
  bool complete = false;    ///< nobody writes to it any more
  bool discard = false;     ///< an incomplete rest that nobody wants
  bool lent = false;

 private:
  struct Free {
    void operator()(std::uint8_t* memory) const { std::free(memory); }
  };
  struct DigestItems {
    std::uint64_t order = 0, pixels = 0;
  };
  struct Bad {
    std::int32_t slot;
    BadSample why;
  };

  void skip_bad(std::int32_t filled);
  void substitute_bad(std::int32_t filled);
  void copy_sample(std::int32_t to, std::int32_t from);

  ImageShape shape_;
  std::size_t image_bytes_;
  std::unique_ptr<std::uint8_t, Free> pixels_;
  std::vector<std::int32_t> labels_;
  std::vector<DigestItems> items_;  ///< of each slot
  std::atomic<std::int32_t> holders_{0};
  std::mutex trouble_mutex_;
  std::vector<Bad> bad_;
  std::exception_ptr error_;
  std::int32_t error_slot_ = 0;
  Batch view_;
};

}  // namespace slackline
