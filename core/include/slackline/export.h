#pragma once

/// \file
/// Visibility of what libslackline.so offers: everything else in it is hidden.

/// Marks a class or function of core that plugins and programs may use. (Like SLACKLINE_PLUGIN, an
/// exception to "headers publish no macros": attributes cannot be spelled any other way.)
#define SLACKLINE_API [[gnu::visibility("default")]]
