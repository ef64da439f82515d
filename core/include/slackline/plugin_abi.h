#pragma once

/// \file
/// What crosses the boundary between the program and a plugin's library before any C++ interface
/// does: plain C, so that a plugin can be described and its options checked whatever compiled it.
/// Authors do not use this file; plugin.h and options.h fill it in.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Raised when a structure below changes in a way that its struct_size does not tell.
#define SLACKLINE_DESCRIPTOR_ABI 1u

/// The one symbol that a plugin exports: slackline_plugin_descriptor_fn. The version in its name
/// lets a later program look for a later one first.
#define SLACKLINE_DESCRIPTOR_SYMBOL "slackline_plugin_descriptor_v1"

typedef enum slackline_type {
  SLACKLINE_BOOL = 1,
  SLACKLINE_INT = 2,    ///< int64
  SLACKLINE_FLOAT = 3,  ///< double; an integer in the TOML is accepted
  SLACKLINE_STRING = 4,
  SLACKLINE_PATH = 5,     ///< a string, made absolute against the file it stands in
  SLACKLINE_SIZE = 6,     ///< bytes; "64MiB" or an integer in the TOML
  SLACKLINE_DURATION = 7  ///< nanoseconds; "11ms" in the TOML
} slackline_type;

enum {
  SLACKLINE_REQUIRED = 1u,  ///< must be given: there is no default
  SLACKLINE_LIST = 2u,      ///< a TOML array of the type
  SLACKLINE_HAS_RANGE = 4u  ///< min..max (FLOAT) or int_min..int_max (others), both inclusive
};

/// One option of a plugin. Strings are never null; unused ones are empty.
typedef struct slackline_option {
  uint32_t struct_size;
  uint32_t type;  ///< slackline_type
  uint32_t flags;
  uint32_t choice_count;
  const char* name;
  const char* doc;           ///< what it does, one or two sentences
  const char* unit;          ///< of the number: "records", "pixels"
  const char* default_toml;  ///< a TOML literal
  const char* example_toml;  ///< a TOML literal
  const char* const* choices;
  double min, max;
  int64_t int_min, int_max;
  uint32_t items_min, items_max;  ///< of a list; items_max 0 = no limit
} slackline_option;

/// The value of one option: `count` items in the array that belongs to its type. One item unless
/// the option is a list. Not set: the plugin's own default stands.
typedef struct slackline_value {
  uint32_t is_set;
  uint32_t count;
  const int64_t* ints;         ///< BOOL (0, 1), INT, SIZE, DURATION
  const double* floats;        ///< FLOAT
  const char* const* strings;  ///< STRING, PATH
} slackline_value;

/// What a plugin says of itself. All of it is constant and lives as long as the process.
typedef struct slackline_plugin_descriptor {
  uint32_t struct_size;
  uint32_t descriptor_abi;     ///< SLACKLINE_DESCRIPTOR_ABI; read before the rest is trusted
  uint32_t interface_version;  ///< of the C++ interface it implements
  uint32_t option_count;
  const char* kind;  ///< "source", "transform", "prefetcher", "model", "strategy"
  const char* name;  ///< what TOML calls it
  const char* version;
  const char* summary;  ///< one line
  const char* cxx_abi;  ///< standard library and its modes; must equal the program's
  const slackline_option* options;
  /// A new object as a pointer to its interface class; the caller deletes it. `values` has
  /// option_count entries, borrowed for the call; `host` is a slackline::Host* that outlives the
  /// object. Throws slackline::Error.
  void* (*create)(const slackline_value* values, void* host);
  /// Why this machine cannot run the plugin, say without a GPU's driver; null if it can. The text
  /// is valid until the next call. May be a null pointer itself: the plugin runs anywhere.
  const char* (*unavailable)(void);
} slackline_plugin_descriptor;

typedef const slackline_plugin_descriptor* slackline_plugin_descriptor_fn(void);

#ifdef __cplusplus
}
#endif
