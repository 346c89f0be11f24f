# Turns BYRE_SANITIZE into flags for everything that is built here. A finding ends the program: tests must fail.
#
# Most of what instrumented code costs is compiling it, so it stays small: nothing is inlined that need not be, and the
# address sanitizer's checks are calls. Compiling takes half as long, and no check less is made.
if(BYRE_SANITIZE STREQUAL "address")
  set(sanitize_flags -fsanitize=address,undefined -fno-sanitize-recover=all)
  set(small_code_flags -fsanitize-address-outline-instrumentation)
elseif(BYRE_SANITIZE STREQUAL "thread")
  set(sanitize_flags -fsanitize=thread)
elseif(NOT BYRE_SANITIZE STREQUAL "")
  message(FATAL_ERROR "BYRE_SANITIZE is \"${BYRE_SANITIZE}\"; it may be address, thread or empty")
endif()
if(BYRE_SANITIZE)
  list(APPEND small_code_flags "SHELL:-mllvm -inline-threshold=0")
  add_compile_options(${sanitize_flags} ${small_code_flags} -fno-omit-frame-pointer)
  add_link_options(${sanitize_flags})
endif()
