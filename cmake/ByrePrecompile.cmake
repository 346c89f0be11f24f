# byre_precompile(target header...): compiles these headers, and those that nearly every source includes, once for the
# target, if BYRE_PRECOMPILED_HEADERS is on. tools/lint finds a source that lives on what it does not include itself.
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

# byre_unite(target): with BYRE_UNITY, a dozen sources make one translation unit. Most of the compiler's time goes into
# the headers that they share: g++ takes a fifth of it so. The price is that names in anonymous namespaces must differ.
function(byre_unite target)
  if(NOT BYRE_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # It takes classes in anonymous namespaces of included sources for those of a header.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()
