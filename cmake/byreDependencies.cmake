# Finds what the library links. Read twice: by our own build, and by find_package(byre) in a project that links the
# installed static library. Imported targets are exported by name only, so both sides must make the same names.
# BYRE_WITH_ISAL: "auto" takes ISA-L if it is there, true requires it, false leaves it alone.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(fmt)
find_dependency(PkgConfig)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)
pkg_check_modules(FUSE REQUIRED IMPORTED_TARGET fuse3)
if(BYRE_WITH_ISAL STREQUAL "auto")
  pkg_check_modules(ISAL IMPORTED_TARGET libisal)
elseif(BYRE_WITH_ISAL)
  pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
endif()
