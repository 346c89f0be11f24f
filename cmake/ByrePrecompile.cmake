# byre_precompile(target header...): compiles these headers, and those that nearly every source includes, once for the
# target, if BYRE_PRECOMPILED_HEADERS is on. It is off in the tree of g++, so that no source lives on what it does not
# include itself; besides, g++ 12 would warn of faults in its own headers.
function(byre_precompile target)
  if(NOT BYRE_PRECOMPILED_HEADERS)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE <algorithm> <coroutine> <cstdint> <expected> <functional> <memory>
                            <optional> <span> <string> <unordered_map> <vector> ${ARGN})
  # Lets a compiler cache tell that two results are the same.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  endif()
endfunction()
