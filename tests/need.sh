#!/usr/bin/env bash
# need.sh PROGRAM[=PACKAGE]…: installs what is missing with apt-get (Debian's packages have the
# programs' names unless one is given), or says plainly what to install by hand. A package that
# brings a service doesn't start it: the ports of this machine aren't ours.
set -u
policy=/usr/sbin/policy-rc.d
for wanted in "$@"; do
  program=${wanted%%=*}
  package=${wanted#*=}
  command -v "$program" >/dev/null && continue
  echo "installing $package …"
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if [ ! -e "$policy" ]; then
    trap '$sudo rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null && $sudo chmod 755 "$policy"
  fi
  if ! { $sudo apt-get install -y -q "$package" || { $sudo apt-get update -q && $sudo apt-get install -y -q "$package"; }; } >/dev/null 2>&1; then
    echo "$program isn't installed and apt-get couldn't install $package: please install it and try again" >&2
    exit 1
  fi
done
