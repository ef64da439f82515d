#pragma once

#include <slackline/batch.h>

namespace slackline {

/// The stream that it holds, unchanged: every call goes on to it, on the caller's thread.
class PassThroughStream final : public BatchStream {
 public:
  /// `upstream` is borrowed and must outlive this.
  explicit PassThroughStream(BatchStream& upstream) : upstream_(upstream) {}

  [[nodiscard]] const Batch* next() override { return upstream_.next(); }
  void give_back(const Batch* batch) noexcept override { upstream_.give_back(batch); }
  void cancel() noexcept override { upstream_.cancel(); }

 private:
  BatchStream& upstream_;
};

}  // namespace slackline
