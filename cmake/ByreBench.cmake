# Each bench/x.cc becomes bench_x; `cmake --build <dir> --target bench` builds them all. Never part of `all`.
file(GLOB bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.cc)
find_package(benchmark QUIET)
if(bench_sources AND benchmark_FOUND)
  add_custom_target(bench)
  foreach(source ${bench_sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(bench_${name} EXCLUDE_FROM_ALL ${source})
    target_include_directories(bench_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
    target_link_libraries(bench_${name} PRIVATE byre byre_warnings fmt::fmt benchmark::benchmark_main
                                                 $<TARGET_NAME_IF_EXISTS:byre_test_support>)
    add_dependencies(bench bench_${name})
  endforeach()
endif()
