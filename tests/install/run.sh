#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh NAME: one check of the installed library. `prefix` installs it first, into the build folder.
# Environment: CMAKE CC CXX SOURCE BUILD LIBDIR VERSION PROVIDERS TOOL.
set -eu

here=$SOURCE/tests/install
work=$BUILD/tests/install
prefix=$work/prefix
library=$prefix/$LIBDIR/libinterlock.so

fail() {
  echo "install: $*"
  exit 1
}

fresh() { # fresh <folder>
  rm -rf "$1"
  mkdir -p "$1"
}

use_pkg_config() {
  command -v pkg-config >/dev/null || exit 77
  PKG_CONFIG_PATH=$prefix/$LIBDIR/pkgconfig
  export PKG_CONFIG_PATH
}

build_consumer() { # build_consumer <source folder> <name> [cmake argument...]
  consumer=$1
  folder=$work/$2
  shift 2
  fresh "$folder"
  "$CMAKE" -S "$consumer" -B "$folder" -G Ninja -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" "$@"
  "$CMAKE" --build "$folder" --parallel 2
  said=$("$folder/consumer")
  [ "$said" = "$VERSION" ] || fail "the consumer said '$said', not '$VERSION'"
}

case $1 in
  prefix)
    fresh "$prefix"
    "$CMAKE" --install "$BUILD" --prefix "$prefix" >"$work/log" || fail "$(cat "$work/log")"
    # What was installed does not know where it was built.
    ! grep -rlF "$SOURCE/" "$prefix/$LIBDIR/cmake" "$prefix/$LIBDIR/pkgconfig" "$prefix/include" ||
      fail 'installed files name the source folder'
    ;;

  find_package)
    build_consumer "$here/find_package" find_package -DCMAKE_PREFIX_PATH="$prefix"
    # The same without exceptions and run-time type information.
    build_consumer "$here/find_package" find_package_bare -DCMAKE_PREFIX_PATH="$prefix" \
      -DCMAKE_CXX_FLAGS='-fno-exceptions -fno-rtti'
    ;;

  pkg_config)
    use_pkg_config
    fresh "$work/pkg_config"
    # shellcheck disable=SC2046 # words on purpose
    "$CXX" -std=c++20 -Wall -Wextra -Werror -o "$work/pkg_config/consumer" "$here/find_package/consumer.cpp" \
      $(pkg-config --cflags --libs interlock)
    said=$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$work/pkg_config/consumer")
    [ "$said" = "$VERSION" ] || fail "the consumer said '$said', not '$VERSION'"
    [ "$(pkg-config --modversion interlock)" = "$VERSION" ] || fail 'the pkg-config version is wrong'
    ;;

  dlopen)
    fresh "$work/dlopen"
    "$CC" -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror -o "$work/dlopen/loader" "$here/loader.c" -ldl -pthread
    said=$("$work/dlopen/loader" "$library") || fail "$said"
    [ "$said" = "$VERSION" ] || fail "the loader said '$said', not '$VERSION'"
    ;;

  binary)
    command -v readelf >/dev/null || exit 77
    dynamic=$(readelf -dW "$library")
    needed=$(printf '%s\n' "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | tr '\n' ' ')
    [ "$needed" = 'libc.so.6 ' ] || fail "the library needs more than libc: $needed"
    soversion=${VERSION%%.*}
    [ "$soversion" != 0 ] || soversion=${VERSION%.*} # before 1.0 a minor version may break programs
    printf '%s\n' "$dynamic" | grep -q "SONAME.*\[libinterlock.so.$soversion\]" || fail 'the SONAME is wrong'
    ! printf '%s\n' "$dynamic" | grep -E 'TEXTREL|RPATH|RUNPATH|NODELETE' || fail 'unwanted dynamic entries'
    # The part of each thread's block that dlopen has to find room for.
    tls=$(readelf -lW "$library" | awk '$1 == "TLS" { print $6 }')
    [ $((${tls:-0})) -le 128 ] || fail "static TLS is $((tls)) bytes, more than 128"
    # A unique symbol would keep the library loaded for ever.
    ! readelf --dyn-syms -W "$library" | grep UNIQUE || fail 'unique symbols'
    # All that is exported is ours; names of the C++ library would clash with another copy of it.
    foreign=$(nm -D --defined-only -C "$library" | cut -d' ' -f3- |
      grep -Ev '^(interlock|(typeinfo|vtable|guard variable|typeinfo name|TLS (init|wrapper) function) for interlock)|^dma_|^INTERLOCK' || :)
    [ -z "$foreign" ] || fail "foreign names are exported: $foreign"
    ;;

  providers)
    [ -n "$PROVIDERS" ] || exit 77
    use_pkg_config
    for name in $PROVIDERS; do
      fresh "$work/provider_$name"
      "$CMAKE" -S "$here/provider" -B "$work/provider_$name" -G Ninja -DCMAKE_C_COMPILER="$CC" \
        -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_PREFIX_PATH="$prefix" -DPROVIDER="$name"
      "$CMAKE" --build "$work/provider_$name"
      pkg-config --libs "interlock-$name" >/dev/null || fail "interlock-$name.pc is of no use"
    done
    ;;

  platform)
    # Objects made for another platform do not link to this one's library, not even those of a C face.
    fresh "$work/platform"
    cp -r "$prefix/include/interlock_platform" "$work/platform/"
    sed -i 's/\bnative\b/other/g; s/interlock_platform_native/interlock_platform_other/g' "$work"/platform/interlock_platform/*
    for folder in platform .; do # the second is the control
      "$CXX" -std=c++20 -I"$work/$folder" -I"$prefix/include" -include interlock/atomic.hpp \
        -include interlock_platform/platform.hpp -o "$work/platform/consumer" "$here/find_package/consumer.cpp" \
        "$library" 2>"$work/log" && linked=yes || linked=no
      case $folder in
        platform)
          [ "$linked" = no ] || fail 'objects of another platform link to this one'
          grep -q 'undefined reference to.*interlock_platform_other' "$work/log" || fail "$(cat "$work/log")"
          ;;
        *) [ "$linked" = yes ] || fail "$(cat "$work/log")" ;;
      esac
    done
    ;;

  model)
    build_consumer "$here/model" model -DCMAKE_PREFIX_PATH="$prefix"
    readelf -sW "$work/model/consumer" | grep -q '__tsan_' || fail 'users of interlock::model are not instrumented'
    soversion=${VERSION%%.*}
    [ "$soversion" != 0 ] || soversion=${VERSION%.*}
    readelf -dW "$prefix/$LIBDIR/libinterlock_machine.so" | grep -q "SONAME.*\[libinterlock_machine.so.$soversion\]" ||
      fail "the machine's SONAME is wrong"
    use_pkg_config
    fresh "$work/model_pkg_config"
    # In two steps: the option that instruments would bring a runtime of its own to a link.
    # shellcheck disable=SC2046 # words on purpose
    "$CXX" -std=c++20 -Wall -Wextra -Werror -c -o "$work/model_pkg_config/consumer.o" "$here/model/consumer.cpp" \
      $(pkg-config --cflags interlock-model)
    # shellcheck disable=SC2046
    "$CXX" -o "$work/model_pkg_config/consumer" "$work/model_pkg_config/consumer.o" $(pkg-config --libs interlock-model)
    said=$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$work/model_pkg_config/consumer") || fail "by pkg-config: status $?"
    [ "$said" = "$VERSION" ] || fail "by pkg-config: the consumer said '$said', not '$VERSION'"
    readelf -sW "$work/model_pkg_config/consumer" | grep -q '__tsan_' || fail 'by pkg-config users are not instrumented'
    # In one step: that is told.
    # shellcheck disable=SC2046
    if "$CXX" -std=c++20 -o "$work/model_pkg_config/both" "$here/model/consumer.cpp" $(pkg-config --cflags --libs interlock-model) 2>"$work/log"; then
      LD_LIBRARY_PATH=$prefix/$LIBDIR timeout 60 "$work/model_pkg_config/both" >"$work/log" 2>&1 && fail 'two runtimes go together'
      grep -q 'compile and link in two steps' "$work/log" || fail "a second runtime is not told: $(cat "$work/log")"
    fi
    ;;

  checked)
    build_consumer "$here/checked" checked -DCMAKE_PREFIX_PATH="$prefix"
    said=$("$folder/with_provider") || fail "with a provider: status $?"
    [ "$said" = computed ] || fail "the job said '$said'"
    use_pkg_config
    fresh "$work/checked_pkg_config"
    # shellcheck disable=SC2046 # words on purpose
    "$CXX" -std=c++20 -Wall -Wextra -Werror -o "$work/checked_pkg_config/consumer" "$here/checked/consumer.cpp" \
      $(pkg-config --cflags --libs interlock-checked)
    said=$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$work/checked_pkg_config/consumer") || fail "by pkg-config: status $?"
    [ "$said" = "$VERSION" ] || fail "by pkg-config: the consumer said '$said', not '$VERSION'"
    # shellcheck disable=SC2046
    "$CXX" -std=c++20 -o "$work/checked_pkg_config/with_provider" "$here/checked/with_provider.cpp" \
      $(pkg-config --cflags --libs interlock-checked-engine)
    said=$(LD_LIBRARY_PATH=$prefix/$LIBDIR "$work/checked_pkg_config/with_provider") || fail "a provider by pkg-config: status $?"
    [ "$said" = computed ] || fail "by pkg-config: the job said '$said'"
    needed=$(readelf -dW "$prefix/$LIBDIR/libinterlock_checked.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | tr '\n' ' ')
    [ "$needed" = 'libc.so.6 ' ] || fail "the checked library needs more than libc: $needed"
    # Objects of one do not link to the other's library, either way round.
    if "$CXX" -std=c++20 -I"$prefix/include/interlock-checked" -I"$prefix/include" -o "$work/checked_pkg_config/mixed" \
      "$here/checked/consumer.cpp" "$library" 2>"$work/log"; then fail 'checked objects link to the plain library'; fi
    grep -q 'undefined reference to.*interlock_platform_native_checked' "$work/log" || fail "$(cat "$work/log")"
    if "$CXX" -std=c++20 -I"$prefix/include" -o "$work/checked_pkg_config/mixed" "$here/checked/consumer.cpp" \
      "$prefix/$LIBDIR/libinterlock_checked.so" 2>"$work/log"; then fail 'plain objects link to the checked library'; fi
    grep -q 'undefined reference to.*interlock_platform_native' "$work/log" || fail "$(cat "$work/log")"
    ;;

  model_option)
    # The model platform is a demand with ON, a wish with AUTO. Boost is taken for absent.
    for choice in ON AUTO; do
      fresh "$work/model_option"
      status=0
      "$CMAKE" -S "$SOURCE" -B "$work/model_option" -G Ninja -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
        -DINTERLOCK_MODEL=$choice -DINTERLOCK_BOOST_CONTEXT=OFF \
        -DINTERLOCK_CLI=OFF -DINTERLOCK_TESTS=OFF -DINTERLOCK_EXAMPLES=OFF >"$work/log" 2>&1 || status=$?
      tr -s ' \n' ' ' <"$work/log" >"$work/said"
      case $choice in
        ON)
          [ "$status" != 0 ] || fail 'INTERLOCK_MODEL=ON without Boost is no error'
          grep -q 'INTERLOCK_MODEL is ON, but the model platform can not be built: it needs Boost.Context and libdw (Debian: libboost-context-dev libdw-dev)' "$work/said" ||
            fail "$(cat "$work/log")"
          ;;
        AUTO)
          [ "$status" = 0 ] || fail "$(cat "$work/log")"
          grep -q 'The model platform is left out: it needs Boost.Context' "$work/said" || fail 'it is left out without a word'
          ;;
      esac
    done
    status=0
    "$CMAKE" -S "$SOURCE" -B "$work/model_option" -DINTERLOCK_MODEL=ON -DINTERLOCK_SANITIZE=address >"$work/log" 2>&1 || status=$?
    [ "$status" != 0 ] || fail 'INTERLOCK_MODEL=ON with a sanitizer is no error'
    ;;

  tool)
    [ "$TOOL" = 1 ] || exit 77
    "$prefix/bin/interlock" --help >"$work/log" 2>&1 || fail "$(cat "$work/log")"
    ;;

  subproject)
    build_consumer "$here/subproject" subproject -DINTERLOCK_SOURCE="$SOURCE"
    [ ! -e "$work/subproject/interlock/src/libinterlock_model.a" ] || fail 'a subproject builds the model unasked'
    grep -q '^INTERLOCK_CHECKED:BOOL=OFF$' "$work/subproject/CMakeCache.txt" || fail 'a subproject makes interlock::checked unasked'
    # The other choice is the parent's to make too; that it configures is enough here.
    fresh "$work/subproject_shared"
    "$CMAKE" -S "$here/subproject" -B "$work/subproject_shared" -G Ninja -DCMAKE_C_COMPILER="$CC" \
      -DCMAKE_CXX_COMPILER="$CXX" -DINTERLOCK_SOURCE="$SOURCE" -DBUILD_SHARED_LIBS=ON
    ;;

  readme)
    # The program of the README, built as the README says.
    fresh "$work/readme"
    awk '/^```cpp$/ { on = 1; next } /^```$/ && on { exit } on' "$SOURCE/README.md" >"$work/readme/app.cpp"
    grep -q 'int main' "$work/readme/app.cpp" || fail 'the README has no program'
    {
      echo 'cmake_minimum_required(VERSION 3.25)'
      echo 'project(app LANGUAGES CXX)'
      echo 'add_executable(app app.cpp)'
      awk '/^```cmake$/ { on = 1; next } /^```$/ && on { exit } on' "$SOURCE/README.md"
    } >"$work/readme/CMakeLists.txt"
    "$CMAKE" -S "$work/readme" -B "$work/readme/build" -G Ninja -DCMAKE_CXX_COMPILER="$CXX" \
      -DCMAKE_PREFIX_PATH="$prefix"
    "$CMAKE" --build "$work/readme/build"
    "$work/readme/build/app" || fail "the README's program ends with status $?"
    use_pkg_config
    # shellcheck disable=SC2046 # words on purpose
    "$CXX" -std=c++20 -Wall -Wextra -Werror -o "$work/readme/app" "$work/readme/app.cpp" \
      $(pkg-config --cflags --libs interlock-engine)
    LD_LIBRARY_PATH=$prefix/$LIBDIR "$work/readme/app" || fail "by pkg-config: status $?"
    ;;

  *) fail "no check is named $1" ;;
esac
