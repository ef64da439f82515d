#pragma once

#include <slackline/export.h>

#include <cstdint>

namespace slackline {

/// A digest of a sequence that depends on its order, and that the digests of its parts can be put
/// together to: a step has the same one whether its samples came as one batch or as four.
///
/// The polynomial sum(item[i] * b^(n-1-i)) modulo the prime 2^61 - 1 (Karp and Rabin, 1987,
/// "Efficient randomized pattern-matching algorithms"). It finds accidents; it is no defence
/// against somebody who wants two sequences to agree.
class SLACKLINE_API SequenceDigest {
 public:
  SequenceDigest() = default;
  /// As value() and length() gave it.
  SequenceDigest(std::uint64_t value, std::uint64_t length) : value_(value), length_(length) {}

  /// One more item behind the others: any 64 bits, themselves well mixed.
  void append(std::uint64_t item) noexcept;
  /// All items of `behind`, behind those of this.
  void append(const SequenceDigest& behind) noexcept;

  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }  ///< items
  bool operator==(const SequenceDigest&) const = default;

 private:
  std::uint64_t value_ = 0;
  std::uint64_t length_ = 0;
};

/// What a batch, a step or a run was made of, sample by sample, in order.
struct BatchDigest {
  SequenceDigest order;   ///< of (epoch, record id, label)
  SequenceDigest pixels;  ///< of the pixels, after all transforms

  void append(const BatchDigest& behind) noexcept {
    order.append(behind.order);
    pixels.append(behind.pixels);
  }
  bool operator==(const BatchDigest&) const = default;
};

/// 64 well mixed bits of a sample's place and label.
SLACKLINE_API std::uint64_t order_item(std::uint32_t epoch, std::uint64_t record_id,
                                       std::int32_t label) noexcept;

}  // namespace slackline
