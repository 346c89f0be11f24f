# What `cmake --install` puts where: headers, library, tool, CMake package, pkg-config file, licence.
include(CMakePackageConfigHelpers)

set(byre_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/byre)
install(TARGETS byre EXPORT byreTargets)
if(TARGET byre_tool)
  install(TARGETS byre_tool)
  include(${CMAKE_CURRENT_LIST_DIR}/ByreQemuNames.cmake)
endif()
install(DIRECTORY include/byre DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT byreTargets NAMESPACE byre:: DESTINATION ${byre_package_dir})

get_target_property(byre_type byre TYPE)
if(byre_type STREQUAL "STATIC_LIBRARY")
  set(BYRE_NEEDS_DEPENDENCIES TRUE)
else()
  set(BYRE_NEEDS_DEPENDENCIES FALSE)
endif()
configure_package_config_file(cmake/byreConfig.cmake.in ${PROJECT_BINARY_DIR}/byreConfig.cmake
                              INSTALL_DESTINATION ${byre_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/byreConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/byreConfig.cmake ${PROJECT_BINARY_DIR}/byreConfigVersion.cmake
              cmake/byreDependencies.cmake
        DESTINATION ${byre_package_dir})

# Relative to the file itself, so that `cmake --install --prefix` and moved trees work.
file(RELATIVE_PATH BYRE_PREFIX_FROM_PKGCONFIG /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(BYRE_PC_REQUIRES "fmt, liburing, libzstd, zlib, libdeflate, fuse3")
if(BYRE_WITH_ISAL)
  string(APPEND BYRE_PC_REQUIRES ", libisal")
endif()
configure_file(cmake/byre.pc.in ${PROJECT_BINARY_DIR}/byre.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/byre.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
