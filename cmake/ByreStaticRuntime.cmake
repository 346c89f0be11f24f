# byre_bring_runtime(target): with BYRE_STATIC_RUNTIME, the C++ runtime becomes part of the program. Finding it and its
# symbols was a third of the time of a short command (docs/benchmarks.md). Needs {fmt} 9. Not beside a shared libbyre,
# which would have a runtime of its own.
function(byre_bring_runtime target)
  if(NOT BYRE_STATIC_RUNTIME OR BUILD_SHARED_LIBS)
    return()
  endif()
  add_library(byre_fmt STATIC cmake/fmt_compiled.cc)
  target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
  # Before the shared one, of which nothing is then asked for.
  target_link_libraries(${target} PRIVATE byre_fmt -Wl,--as-needed)
endfunction()
