#!/usr/bin/env bash
# need.sh PROGRAM…: installs what is missing with apt-get (Debian's packages have the programs'
# names), or says plainly what to install by hand.
set -u
for program in "$@"; do
  command -v "$program" >/dev/null && continue
  echo "installing $program …"
  sudo=""
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if ! { $sudo apt-get install -y -q "$program" || { $sudo apt-get update -q && $sudo apt-get install -y -q "$program"; }; } >/dev/null 2>&1; then
    echo "$program isn't installed and apt-get couldn't install it: please install $program and try again" >&2
    exit 1
  fi
done
