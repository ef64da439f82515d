#pragma once

#include <array>
#include <cstdint>

namespace slackline {

/// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy
/// as 1, 2, 3" (SC'11); the one TensorFlow uses. Its numbers depend on key and counter alone, so a
/// sample's randomness needs no shared state.
///
/// Threads    a value; each thread uses its own.
class Philox {
 public:
  /// Words come in blocks of four; `counter[0..1]`, read as 64 bits, counts the blocks.
  Philox(std::array<std::uint32_t, 2> key, std::array<std::uint32_t, 4> counter) noexcept
      : key_(key), counter_(counter) {}

  /// The next 32-bit word.
  std::uint32_t operator()() noexcept {
    if (used_ == 4) {
      block_ = generate(key_, counter_);
      if (++counter_[0] == 0) ++counter_[1];
      used_ = 0;
    }
    return block_[used_++];
  }

  /// The four words that belong to one counter.
  static std::array<std::uint32_t, 4> generate(std::array<std::uint32_t, 2> key,
                                               std::array<std::uint32_t, 4> counter) noexcept {
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
      counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
                 static_cast<std::uint32_t>(product1),
                 static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
                 static_cast<std::uint32_t>(product0)};
      key[0] += 0x9E3779B9;
      key[1] += 0xBB67AE85;
    }
    return counter;
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

/// U[0, 1) from the low 23 bits of one word, as TensorFlow makes it.
/// `Words` is anything that returns the next 32-bit word when called.
template <class Words>
float uniform_float(Words& words) noexcept(noexcept(words())) {
  return static_cast<float>(words() & 0x7fffffu) * 0x1p-23f;
}

/// Uniform in 0..n-1, n > 0, without bias, as TensorFlow makes it: a mask where n is a power of
/// two, else low words are rejected and the modulus taken. Uses one word or more.
template <class Words>
std::uint32_t uniform_below(Words& words, std::uint32_t n) noexcept(noexcept(words())) {
  if ((n & (n - 1)) == 0) return words() & (n - 1);
  const std::uint32_t reject_below = 0xffffffffu % n + 1;
  std::uint32_t word = words();
  while (word < reject_below) word = words();
  return word % n;
}

/// What the randomness of one sample depends on, and nothing else: not the worker, the batch, nor
/// what was drawn before.
struct SampleKey {
  std::uint64_t seed = 0;       ///< of the run
  std::uint64_t sample_id = 0;  ///< Record::id
  std::uint32_t epoch = 0;      ///< from 0
};

/// The words that operation `op` (its place in the list of transforms, below 256) may draw for the
/// sample. Epochs are told apart up to 2^24.
inline Philox random_words(const SampleKey& sample, std::uint32_t op) noexcept {
  return Philox(
      {static_cast<std::uint32_t>(sample.seed), static_cast<std::uint32_t>(sample.seed >> 32)},
      {0, (op << 24) | (sample.epoch & 0xffffffu), static_cast<std::uint32_t>(sample.sample_id),
       static_cast<std::uint32_t>(sample.sample_id >> 32)});
}

}  // namespace slackline
