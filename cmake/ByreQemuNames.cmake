# The tool under the names of the tools whose place it takes: links to it, beside it. Made by `cmake --install` with
# BYRE_QEMU_NAMES, and without it by `cmake --install ... --component qemu-names`. What stands there and is no link is
# somebody else's program, and stays.
option(BYRE_QEMU_NAMES "Install links called qemu-img, qemu-io and qemu-nbd" OFF)
set(byre_names_outside_all EXCLUDE_FROM_ALL)
if(BYRE_QEMU_NAMES)
  set(byre_names_outside_all "")
endif()
install(CODE "
  foreach(name qemu-img qemu-io qemu-nbd)
    set(link \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/\${name}\")
    if(EXISTS \"\${link}\" AND NOT IS_SYMLINK \"\${link}\")
      message(FATAL_ERROR \"\${link} is there and is no link: remove it, or choose another prefix\")
    endif()
    file(CREATE_LINK byre \"\${link}\" SYMBOLIC)
    message(STATUS \"Linking: \${link}\")
  endforeach()" COMPONENT qemu-names ${byre_names_outside_all})
