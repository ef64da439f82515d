#pragma once

// Batches that tests fill by hand.

#include <slackline/batch.h>
#include <slackline/random.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace slackline::testing_support {

/// A batch with its memory.
class OwnedBatch {
 public:
  /// `pixels` is (labels.size(), H, W, C).
  OwnedBatch(ImageShape shape, std::vector<std::uint8_t> pixels, std::vector<std::int32_t> labels)
      : pixels_(std::move(pixels)), labels_(std::move(labels)) {
    batch_.images = pixels_;
    batch_.labels = labels_;
    batch_.shape = shape;
    batch_.size = static_cast<std::int32_t>(labels_.size());
  }
  OwnedBatch(const OwnedBatch&) = delete;
  OwnedBatch& operator=(const OwnedBatch&) = delete;

  [[nodiscard]] Batch& operator*() { return batch_; }
  [[nodiscard]] Batch* operator->() { return &batch_; }
  [[nodiscard]] std::vector<std::uint8_t>& pixels() { return pixels_; }

 private:
  std::vector<std::uint8_t> pixels_;
  std::vector<std::int32_t> labels_;
  Batch batch_;
};

/// Pixels and labels that depend on the index alone.
inline std::unique_ptr<OwnedBatch> made_up_batch(ImageShape shape, std::int32_t classes,
                                                 std::uint64_t index, std::size_t size) {
  Philox words({static_cast<std::uint32_t>(index), 1}, {});
  std::vector<std::uint8_t> pixels(size * shape.size());
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(words());
  std::vector<std::int32_t> labels(size);
  for (std::int32_t& label : labels) {
    label = static_cast<std::int32_t>(uniform_below(words, static_cast<std::uint32_t>(classes)));
  }
  auto batch = std::make_unique<OwnedBatch>(shape, std::move(pixels), std::move(labels));
  (*batch)->index = index;
  return batch;
}

}  // namespace slackline::testing_support
