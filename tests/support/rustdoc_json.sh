#!/bin/sh
# rustdoc with its JSON, which a stable one writes only if told that it may. Only rustdoc is told: a compiler that is
# told so is another one for the build scripts of our dependencies, and all of them would be built anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
