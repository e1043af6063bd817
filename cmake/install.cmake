# SPDX-License-Identifier: Apache-2.0
# The library, its headers, the providers and the tool; found again by find_package(interlock) and by pkg-config.

include(CMakePackageConfigHelpers)
set(interlock_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/interlock)

install(TARGETS interlock EXPORT interlock_targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT interlock_targets NAMESPACE interlock:: DESTINATION ${interlock_cmake_dir})

# Each provider has a file of its own, so that what it needs is looked for only where it is asked for.
foreach(name IN LISTS interlock_providers)
  get_target_property(header_sets interlock_${name} HEADER_SETS)
  set(headers)
  if(header_sets)
    set(headers FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
  foreach(target IN ITEMS interlock_${name} interlock_checked_${name})
    if(TARGET ${target})
      install(TARGETS ${target} EXPORT ${target}_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${headers})
      install(EXPORT ${target}_targets NAMESPACE interlock:: DESTINATION ${interlock_cmake_dir})
    endif()
  endforeach()
endforeach()

if(TARGET interlock_model)
  set(headers FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
              FILE_SET model DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/interlock-model)
  get_target_property(sets interlock_model INTERFACE_HEADER_SETS)
  if("explore" IN_LIST sets)
    list(APPEND headers FILE_SET explore DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
  install(TARGETS interlock_model interlock_machine EXPORT interlock_model_targets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${headers})
  install(EXPORT interlock_model_targets NAMESPACE interlock:: DESTINATION ${interlock_cmake_dir})
endif()

if(TARGET interlock_checked)
  install(TARGETS interlock_checked EXPORT interlock_checked_targets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILE_SET checked DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/interlock-checked)
  install(EXPORT interlock_checked_targets NAMESPACE interlock:: DESTINATION ${interlock_cmake_dir})
endif()

if(TARGET interlock_cli)
  file(RELATIVE_PATH interlock_rpath /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
  set_target_properties(interlock_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${interlock_rpath}")
  install(TARGETS interlock_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/interlockConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/interlockConfig.cmake
                              INSTALL_DESTINATION ${interlock_cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/interlockConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/interlockConfig.cmake
              ${PROJECT_BINARY_DIR}/interlockConfigVersion.cmake
        DESTINATION ${interlock_cmake_dir})

# pkg-config: the paths follow the file, wherever the prefix is moved to.
file(RELATIVE_PATH interlock_pc_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(interlock_pc_names interlock ${interlock_providers})
if(TARGET interlock_checked)
  list(APPEND interlock_pc_names checked)
  foreach(name IN LISTS interlock_providers)
    list(APPEND interlock_pc_names checked_${name})
  endforeach()
endif()
foreach(name IN LISTS interlock_pc_names)
  set(pc_cflags "-I\${includedir}")
  if(name MATCHES "^(interlock|checked)$")
    set(pc interlock)
    set(pc_description "${PROJECT_DESCRIPTION}")
    set(pc_requires "")
    set(pc_requires_private "")
    set(pc_libs "-linterlock")
    if(name STREQUAL "checked")
      set(pc interlock-checked)
      set(pc_description "Interlock with the lock validator, in place of interlock")
      set(pc_libs "-linterlock_checked")
      set(pc_cflags "-I\${includedir}/interlock-checked -I\${includedir}")
    endif()
    if(BUILD_SHARED_LIBS)
      set(pc_libs_private "-pthread")
    else()
      string(APPEND pc_libs " -pthread")
      set(pc_libs_private "")
    endif()
  else()
    string(REPLACE _ - pc interlock-${name})
    set(pc_description "The ${name} provider of Interlock")
    set(pc_requires "interlock = ${PROJECT_VERSION}")
    if(name MATCHES "^checked_")
      set(pc_requires "interlock-checked = ${PROJECT_VERSION}")
      set(pc_cflags "-I\${includedir}/interlock-checked -I\${includedir}") # these come first
    endif()
    set(pc_requires_private "")
    set(pc_libs "-linterlock_${name}")
    set(pc_libs_private "")
    if(name MATCHES "uring$")
      # A static library: who links it needs liburing too.
      string(APPEND pc_requires ", liburing")
    endif()
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/interlock.pc.in ${PROJECT_BINARY_DIR}/${pc}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

# The model's users are instrumented: the options are those of the compiler that has built it.
if(TARGET interlock_model)
  set(pc interlock-model)
  set(pc_description "Interlock on a simulated machine, in place of interlock (built with ${CMAKE_CXX_COMPILER_ID})")
  set(pc_requires "")
  set(pc_requires_private "")
  set(pc_libs "-linterlock_model -linterlock_machine -Wl,-z,now -Wl,-z,relro -pthread")
  set(pc_libs_private "")
  string(JOIN " " pc_cflags "-I\${includedir}/interlock-model -I\${includedir}" ${interlock_model_own_options})
  string(REPLACE "SHELL:" "" pc_cflags "${pc_cflags}")
  configure_file(${PROJECT_SOURCE_DIR}/cmake/interlock.pc.in ${PROJECT_BINARY_DIR}/${pc}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
