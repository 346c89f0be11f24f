// Where the library's remarks go. It never prints by itself: the caller passes a sink, or hears nothing.
#pragma once

#include <functional>
#include <string_view>

namespace byre {

enum class LogLevel { note, warning };

// Called on the loop's thread, must not block. Messages are one line, without a newline, escaped for terminals.
using LogSink = std::function<void(LogLevel level, std::string_view message)>;

}  // namespace byre
