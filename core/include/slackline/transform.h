#pragma once

#include <slackline/export.h>
#include <slackline/random.h>
#include <slackline/scratch.h>
#include <slackline/source.h>

#include <cstdint>
#include <span>

namespace slackline {

/// Height and width in pixels, channels per pixel.
struct ImageShape {
  std::int32_t height = 0;
  std::int32_t width = 0;
  std::int32_t channels = 3;

  [[nodiscard]] std::size_t size() const noexcept {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
           static_cast<std::size_t>(channels);
  }
  friend bool operator==(const ImageShape&, const ImageShape&) = default;
};

/// The place of one sample in a batch: where its pixels and its label go.
struct SampleSlot {
  std::span<std::uint8_t> pixels;  ///< (H, W, C), RGB, 0..255, rows without padding
  ImageShape shape;                ///< of `pixels`
  std::int32_t label = -1;         ///< class index from 0; written by the transform that decodes
};

/// What a Transform may use beside the record and the slot.
struct TransformContext {
  SampleKey sample;  ///< with `op`, all that randomness may depend on: random_words(sample, op)
  std::uint32_t op;  ///< this transform's place in the list, from 0
  Scratch& scratch;  ///< empty at each call
};

/// One step from a record to a sample. The first of the list decodes the record straight into its
/// slot of the batch; the others change the slot in place.
///
/// Lifecycle  construct, prepare(), then apply() for every sample.
/// Threads    prepare() before all others; apply() by many workers at once.
/// Errors     apply(): DataError with the key at fault if the record is damaged; the slot's
///            contents are then unspecified.
class SLACKLINE_API Transform {
 public:
  static constexpr const char* kKind = "transform";
  static constexpr std::uint32_t kInterfaceVersion = 1;

  Transform() = default;
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;
  virtual ~Transform();

  /// The formats of records that it turns into samples: it then stands first in the list. Empty
  /// for one that changes samples in place. Valid as long as the object.
  [[nodiscard]] virtual std::span<const RecordFormat> decodes() const noexcept = 0;

  /// Tells the shape of every slot. Throws ConfigError if it cannot work on such a shape.
  virtual void prepare(const ImageShape& shape) = 0;

  /// Fills or changes `slot`. Every pixel must be written by the one that decodes.
  virtual void apply(const Record& record, SampleSlot& slot, TransformContext& context) const = 0;
};

}  // namespace slackline
