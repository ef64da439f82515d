#pragma once

// Batches that tests fill by hand.

#include <slackline/batch.h>

#include <cstdint>
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

}  // namespace slackline::testing_support
