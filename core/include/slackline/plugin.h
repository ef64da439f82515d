#pragma once

#include <slackline/error.h>
#include <slackline/host.h>
#include <slackline/options.h>
#include <slackline/plugin_abi.h>

#include <concepts>
#include <memory>
#include <mutex>
#include <string>

namespace slackline {

/// Which standard library this is compiled against, and in which mode: what must be equal for C++
/// objects to cross between program and plugin.
inline constexpr const char* kCxxAbi =
#if defined(_LIBCPP_VERSION)
    "libc++"
#elif defined(__GLIBCXX__)
    "libstdc++"
#if _GLIBCXX_USE_CXX11_ABI
    " cxx11"
#else
    " pre-cxx11"
#endif
#if defined(_GLIBCXX_DEBUG)
    " debug"
#endif
#else
    "unknown"
#endif
    ;

namespace plugin_detail {

/// A plugin without options is like one whose table is empty.
struct NoOptions {
  static OptionTable<NoOptions> table() { return {}; }
};

template <class Implementation>
struct OptionsOf {
  using type = NoOptions;
};
template <class Implementation>
requires requires { typename Implementation::Options; }
struct OptionsOf<Implementation> {
  using type = typename Implementation::Options;
};

/// Built on first use and then for good.
template <class Implementation>
const auto& table_of() {
  static const auto table = OptionsOf<Implementation>::type::table();
  return table;
}

template <class Interface, class Implementation>
void* create(const slackline_value* values, void* host) {
  using Options = typename OptionsOf<Implementation>::type;
  const auto options = table_of<Implementation>().bind(values);
  std::unique_ptr<Interface> made;
  if constexpr (std::constructible_from<Implementation, const Options&, Host&>) {
    made = std::make_unique<Implementation>(options, *static_cast<Host*>(host));
  } else if constexpr (std::constructible_from<Implementation, const Options&>) {
    made = std::make_unique<Implementation>(options);
  } else if constexpr (std::constructible_from<Implementation, Host&>) {
    made = std::make_unique<Implementation>(*static_cast<Host*>(host));
  } else {
    made = std::make_unique<Implementation>();
  }
  return made.release();
}

template <class Implementation>
const char* unavailable() {
  static std::mutex mutex;
  static std::string why;
  const std::lock_guard lock(mutex);
  why = Implementation::unavailable();
  return why.empty() ? nullptr : why.c_str();
}

/// Null for a plugin that runs anywhere.
template <class Implementation>
constexpr auto unavailable_of() -> const char* (*)() {
  if constexpr (requires { Implementation::unavailable(); }) {
    return &unavailable<Implementation>;
  } else {
    return nullptr;
  }
}

template <class Interface, std::derived_from<Interface> Implementation>
const slackline_plugin_descriptor* describe(const char* name, const char* summary,
                                            const char* version) {
  static const slackline_plugin_descriptor descriptor = {
      .struct_size = sizeof(slackline_plugin_descriptor),
      .descriptor_abi = SLACKLINE_DESCRIPTOR_ABI,
      .interface_version = Interface::kInterfaceVersion,
      .option_count = static_cast<std::uint32_t>(table_of<Implementation>().rows().size()),
      .kind = Interface::kKind,
      .name = name,
      .version = version,
      .summary = summary,
      .cxx_abi = kCxxAbi,
      .options = table_of<Implementation>().rows().data(),
      .create = &create<Interface, Implementation>,
      .unavailable = unavailable_of<Implementation>(),
  };
  return &descriptor;
}

}  // namespace plugin_detail
}  // namespace slackline

/// Closes a plugin's file: defines the one function that its library exports. The class may have a
/// nested `Options` (see options.h), and is constructed from (Options, Host&), (Options), (Host&)
/// or (). One that does not run on every machine has `static std::string unavailable()`, which says
/// why not on this one, or is empty. SLACKLINE_PLUGIN_VERSION is set by slackline_add_plugin().
#define SLACKLINE_PLUGIN(Interface, Implementation, name, summary)             \
  extern "C" [[gnu::visibility("default")]] const slackline_plugin_descriptor* \
  slackline_plugin_descriptor_v1() {                                           \
    return ::slackline::plugin_detail::describe<Interface, Implementation>(    \
        name, summary, SLACKLINE_PLUGIN_VERSION);                              \
  }
