#include <slackline/device_splitter.h>

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace slackline {

class DeviceSplitter::Impl {
 public:
  Impl(BatchStream& upstream, std::int32_t device_count, std::int32_t slots_per_device,
       Clock& clock)
      : upstream_(upstream), clock_(clock) {
    for (std::int32_t i = 0; i < device_count; ++i) {
      streams_.push_back(
          std::make_unique<DeviceStream>(*this, static_cast<std::size_t>(slots_per_device)));
    }
  }

  ~Impl() {
    cancel();
    if (!dealer_.joinable()) return;
    clock_.join(dealer_);
    for (const auto& stream : streams_) {
      for (; stream->count > 0; --stream->count) {
        const Element& element = stream->slots[stream->front];
        if (element.batch != nullptr) upstream_.give_back(element.batch);
        stream->front = (stream->front + 1) % stream->slots.size();
      }
    }
  }

  [[nodiscard]] BatchStream& stream(std::int32_t device) {
    return *streams_[static_cast<std::size_t>(device)];
  }

 private:
  /// What upstream answered: a batch or an error.
  struct Element {
    const Batch* batch = nullptr;
    std::exception_ptr error;
  };

  class DeviceStream final : public BatchStream {
   public:
    DeviceStream(Impl& all, std::size_t slot_count) : slots(slot_count), all_(all) {}
    [[nodiscard]] const Batch* next() override { return all_.next(*this); }
    void give_back(const Batch* batch) noexcept override { all_.upstream_.give_back(batch); }
    void cancel() noexcept override { all_.cancel(); }

    // A ring of those that wait for this device; with the lock.
    std::vector<Element> slots;
    std::size_t front = 0;
    std::size_t count = 0;

   private:
    Impl& all_;
  };

  const Batch* next(DeviceStream& stream) {
    std::unique_lock lock(mutex_);
    if (!cancelled_ && !dealer_.joinable()) {
      dealer_ = clock_.start_thread("splitter", [this] { deal(); });
    }
    clock_.wait(lock, changed_, {}, [&] { return cancelled_ || finished_ || stream.count > 0; });
    if (cancelled_ || stream.count == 0) return nullptr;
    const Element element = std::exchange(stream.slots[stream.front], {});
    stream.front = (stream.front + 1) % stream.slots.size();
    --stream.count;
    lock.unlock();
    clock_.notify_all(changed_);
    if (element.error) std::rethrow_exception(element.error);
    return element.batch;
  }

  void cancel() noexcept {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
    }
    clock_.notify_all(changed_);
    upstream_.cancel();
  }

  void deal() {
    for (std::size_t turn = 0;; turn = (turn + 1) % streams_.size()) {
      DeviceStream& stream = *streams_[turn];
      {
        std::unique_lock lock(mutex_);
        clock_.wait(lock, changed_, {},
                    [&] { return cancelled_ || stream.count < stream.slots.size(); });
        if (cancelled_) return;
      }
      Element element;
      try {
        element.batch = upstream_.next();
      } catch (...) {
        element.error = std::current_exception();
      }
      const bool is_end = element.batch == nullptr && !element.error;
      {
        const std::lock_guard lock(mutex_);
        if (is_end) {
          finished_ = true;
        } else {
          // Also when cancelled: the destructor gives it back.
          stream.slots[(stream.front + stream.count) % stream.slots.size()] = std::move(element);
          ++stream.count;
        }
      }
      clock_.notify_all(changed_);
      if (is_end) return;
    }
  }

  BatchStream& upstream_;
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;  ///< any slot or flag
  std::vector<std::unique_ptr<DeviceStream>> streams_;
  bool finished_ = false;  ///< upstream has no more
  bool cancelled_ = false;
  std::thread dealer_;
};

DeviceSplitter::DeviceSplitter(BatchStream& upstream, std::int32_t device_count,
                               std::int32_t slots_per_device, Clock& clock)
    : impl_(std::make_unique<Impl>(upstream, device_count, slots_per_device, clock)) {}
DeviceSplitter::~DeviceSplitter() = default;

BatchStream& DeviceSplitter::stream(std::int32_t device) { return impl_->stream(device); }

}  // namespace slackline
