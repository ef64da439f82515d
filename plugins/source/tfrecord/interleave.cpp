#include "interleave.h"

#include <slackline/error.h>

#include <utility>

#include "sequential_file.h"

namespace slackline::tfrecord {

Interleave::Interleave(const InterleavePlan& plan, const std::vector<std::string>& paths,
                       RecordPool& pool)
    : plan_(plan),
      paths_(paths),
      pool_(pool),
      places_(static_cast<std::size_t>(plan.cycle_length)) {}

void Interleave::start(std::vector<std::uint32_t> files) {
  files_ = std::move(files);
  for (Place& place : places_) {
    if (place.reader) place.reader->close();
    place.is_open = false;
  }
  next_file_ = open_count_ = turn_ = 0;
  taken_in_turn_ = 0;
}

bool Interleave::next(StoredRecord& record) {
  while (open_count_ > 0 || next_file_ < files_.size()) {
    Place& place = places_[turn_];
    if (!place.is_open) {
      if (next_file_ == files_.size()) {
        advance();
        continue;
      }
      record = {.file = files_[next_file_]};  // the one at fault if it cannot be opened
      open_next_file(place);
    }
    bool is_one = false;
    try {
      is_one = place.reader->next(record);
    } catch (const Error&) {
      if (++taken_in_turn_ == plan_.block_length) advance();
      throw;
    }
    if (is_one) {
      if (++taken_in_turn_ == plan_.block_length) advance();
      return true;
    }
    place.is_open = false;
    --open_count_;
    advance();
  }
  return false;
}

void Interleave::open_next_file(Place& place) {
  if (!place.reader) {
    place.reader = std::make_unique<ShardReader>(plan_.compression, plan_.max_record_bytes, pool_);
  }
  const std::uint32_t file = files_[next_file_++];
  place.reader->open(paths_[file], file);
  place.is_open = true;
  ++open_count_;
  if (next_file_ < files_.size()) SequentialFile::announce(paths_[files_[next_file_]]);
}

void Interleave::advance() noexcept {
  taken_in_turn_ = 0;
  turn_ = (turn_ + 1) % places_.size();
}

}  // namespace slackline::tfrecord
