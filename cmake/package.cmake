# The Debian package, for the release on which it is built: its dependencies are the libraries of
# that release. `ninja package_files && cpack -G DEB`, or make package.
#
# deploy/debian has what only the package needs; manual page and completions are what the binary
# itself prints.

file(STRINGS /etc/os-release OS_RELEASE REGEX "^(VERSION_ID|VERSION_CODENAME)=")
string(REGEX MATCH "VERSION_ID=\"?([0-9]+)" _ "${OS_RELEASE}")
set(PACKAGE_DEBIAN "${CMAKE_MATCH_1}")
string(REGEX MATCH "VERSION_CODENAME=\"?([a-z]+)" _ "${OS_RELEASE}")
set(PACKAGE_CODENAME "${CMAKE_MATCH_1}")
# The package for 13 is the newer one, so that an upgrade of the release takes it.
set(PACKAGE_RELEASE "1~deb${PACKAGE_DEBIAN}")
set(PACKAGE_VERSION "${PROJECT_VERSION}-${PACKAGE_RELEASE}")
set(PACKAGE_MAINTAINER "Hearth maintainers <maintainers@hearth.example>" CACHE STRING
  "who answers for the package, as NAME <MAIL>")

# The same commit gives the same package, whenever it is built.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} -c safe.directory=* log -1 --format=%ct
    OUTPUT_VARIABLE commit_time OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(commit_time)
    set(ENV{SOURCE_DATE_EPOCH} ${commit_time})
  endif()
endif()
string(TIMESTAMP PACKAGE_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)

set(from ${CMAKE_SOURCE_DIR}/deploy/debian)
set(into ${CMAKE_BINARY_DIR}/package)
set(control ${into}/control)
file(READ ${from}/needed.sh NEEDED)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${from}/needed.sh)
configure_file(${from}/changelog.in ${into}/changelog.Debian @ONLY)
configure_file(${from}/postinst ${control}/postinst COPYONLY)
configure_file(${from}/prerm.in ${control}/prerm @ONLY)
configure_file(${from}/postrm.in ${control}/postrm @ONLY)
file(CHMOD ${control}/postinst ${control}/prerm ${control}/postrm
  PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
              WORLD_EXECUTE)
file(WRITE ${control}/conffiles "/etc/hearth/manager.toml\n/etc/hearth/node.toml\n")

set(docs ${into}/changelog.gz ${into}/changelog.Debian.gz)
set(printed ${into}/hearth.8.gz ${into}/hearth.bash ${into}/_hearth ${into}/hearth.fish)
add_custom_command(
  OUTPUT ${docs}
  COMMAND gzip -9n < ${CMAKE_SOURCE_DIR}/CHANGELOG.md > changelog.gz
  COMMAND gzip -9n < changelog.Debian > changelog.Debian.gz
  DEPENDS ${CMAKE_SOURCE_DIR}/CHANGELOG.md ${into}/changelog.Debian
  WORKING_DIRECTORY ${into} VERBATIM)
add_custom_command(
  OUTPUT ${printed}
  COMMAND $<TARGET_FILE:hearth> man > hearth.8
  COMMAND gzip -9nf hearth.8
  COMMAND $<TARGET_FILE:hearth> completion bash > hearth.bash
  COMMAND $<TARGET_FILE:hearth> completion zsh > _hearth
  COMMAND $<TARGET_FILE:hearth> completion fish > hearth.fish
  DEPENDS hearth
  WORKING_DIRECTORY ${into} VERBATIM)
add_custom_target(package_files ALL DEPENDS ${docs} ${printed})

set(CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
install(TARGETS hearth RUNTIME DESTINATION /usr/bin)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/hearth.service
              ${CMAKE_SOURCE_DIR}/deploy/hearth-manager.service
        DESTINATION /usr/lib/systemd/system)
install(FILES ${CMAKE_SOURCE_DIR}/config/node.toml ${CMAKE_SOURCE_DIR}/config/manager.toml
        DESTINATION /etc/hearth)
install(FILES ${into}/hearth.8.gz DESTINATION /usr/share/man/man8)
install(FILES ${into}/hearth.bash DESTINATION /usr/share/bash-completion/completions RENAME hearth)
install(FILES ${into}/_hearth DESTINATION /usr/share/zsh/vendor-completions)
install(FILES ${into}/hearth.fish DESTINATION /usr/share/fish/vendor_completions.d)
install(FILES ${from}/copyright ${docs} DESTINATION /usr/share/doc/hearth)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hearth)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT ${PACKAGE_MAINTAINER})
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${PACKAGE_RELEASE})
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# containerd.io is Docker's package of it.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, containerd | containerd.io")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${control}/postinst ${control}/prerm ${control}/postrm ${control}/conffiles)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"keeps container images warm on a node
Hearth is containerd's content store, its snapshotter and its registry mirror
in one daemon. An image that was preheated is there already, unpacked and
registered, so that its pull moves no byte and unpacks nothing.

The package starts the daemon and changes nothing of containerd's settings:
'hearth install' does that, and 'hearth doctor' says what is missing.")
include(CPack)
