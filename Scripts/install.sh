#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make install` and `make uninstall` do.
#
#   install.sh install|uninstall PROBE      with PREFIX (/usr/local) and DESTDIR (empty)
#
# The manual page and the completions are made by the program itself, so they have every command and
# option of it.
set -euo pipefail
cd "$(dirname "$0")/.."
action=$1 probe=$2
prefix=${PREFIX:-/usr/local}
to=${DESTDIR:-}$prefix

# What is installed, below the prefix: a mode and a path each; a function below makes the file.
files=(
  "755 bin/netdma-probe"
  "644 share/man/man1/netdma-probe.1"
  "644 share/bash-completion/completions/netdma-probe"
  "644 share/zsh/site-functions/_netdma-probe"
  "644 share/fish/vendor_completions.d/netdma-probe.fish"
  "644 share/doc/netdma-probe/90-netdma.rules"
  "644 share/doc/netdma-probe/LICENSE"
)
content() {
  case $1 in
  bin/*) cat "$probe" ;;
  share/man/*) "$probe" manual ;;
  share/bash-completion/*) "$probe" --generate-completion-script bash ;;
  share/zsh/*) "$probe" --generate-completion-script zsh ;;
  share/fish/*) "$probe" --generate-completion-script fish ;;
  */90-netdma.rules) cat packaging/90-netdma.rules ;;
  */LICENSE) cat LICENSE ;;
  esac
}

if [ "$action" = install ] && [ ! -x "$probe" ]; then
  cat >&2 <<TEXT
error: $probe is not there yet.
       Installing does not build, since root may have no Swift toolchain.
       Run this first: make build
TEXT
  exit 69
fi
new=$(mktemp)
trap 'rm -f "$new"' EXIT
for file in "${files[@]}"; do
  mode=${file%% *} path=${file#* }
  if [ "$action" = uninstall ]; then
    rm -f "$to/$path"
    continue
  fi
  content "$path" >"$new"
  if ! install -D -m "$mode" "$new" "$to/$path"; then
    cat >&2 <<TEXT
error: $to/$path could not be written.
       This user may not, or there is no room.
       Run it as root, or choose a place: make install PREFIX=\$HOME/.local
TEXT
    exit 77
  fi
  echo "$to/$path"
done
if [ "$action" = uninstall ]; then
  rmdir "$to/share/doc/netdma-probe" 2>/dev/null || true
fi
