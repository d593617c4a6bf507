# What `cmake --install` puts where. Everything is found from where it lies, so a tree may be installed under one
# prefix and moved to another.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The program, with what it can say about itself.
set(DDPM_ZSH_DIR ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where zsh looks for completions")
set(documents ${CMAKE_BINARY_DIR}/documents)
file(MAKE_DIRECTORY ${documents})
add_custom_command(OUTPUT ${documents}/ddpm.1 ${documents}/ddpm.bash ${documents}/_ddpm ${documents}/ddpm.fish
  COMMAND ddpm_program man > ${documents}/ddpm.1
  COMMAND ddpm_program completion bash > ${documents}/ddpm.bash
  COMMAND ddpm_program completion zsh > ${documents}/_ddpm
  COMMAND ddpm_program completion fish > ${documents}/ddpm.fish
  DEPENDS ddpm_program VERBATIM)
add_custom_target(documents ALL DEPENDS ${documents}/ddpm.1 ${documents}/ddpm.bash ${documents}/_ddpm ${documents}/ddpm.fish)
install(TARGETS ddpm_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/models DESTINATION ${CMAKE_INSTALL_DATADIR}/ddpm)
install(FILES ${documents}/ddpm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${documents}/ddpm.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ddpm)
install(FILES ${documents}/_ddpm DESTINATION ${DDPM_ZSH_DIR})
install(FILES ${documents}/ddpm.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

# The library, for pkg-config and for CMake's find_package(ddpm).
set(packages ${CMAKE_INSTALL_LIBDIR}/cmake/ddpm)
file(RELATIVE_PATH up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" up ${up})
set(DDPM_PC_PREFIX "\${pcfiledir}/${up}")
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")     # where the compiler looks anyway, which pkg-config knows
  set(DDPM_PC_PREFIX /usr)
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/ddpm.pc.in ddpm.pc @ONLY)
write_basic_package_version_file(ddpm-config-version.cmake COMPATIBILITY SameMajorVersion)
install(TARGETS ddpm_library EXPORT ddpm LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/ddpm.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ddpm NAMESPACE ddpm:: FILE ddpm-config.cmake DESTINATION ${packages})
install(FILES ${CMAKE_BINARY_DIR}/ddpm-config-version.cmake DESTINATION ${packages})
install(FILES ${CMAKE_BINARY_DIR}/ddpm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
