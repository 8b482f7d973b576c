#!/bin/sh
# make-qemu11-layout.sh OUT: debug information for sid's qemu-system-x86_64 11.1.3, out of the layouts of qemu11-layout.c.
#
# Addresses are those of the program's dynamic symbols (nm -D); vmcoreinfo_state, a static variable, was found in a core as
# the word of .bss that points to an object of type "vmcoreinfo".
set -e
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sections=
at() {
	sections="$sections -Wl,--section-start=.at.$1=$2"
}
at cpus_queue 0x1d0e070
at tcg_allowed 0x1e22d20
at current_machine 0x1e4e320
at vmcoreinfo_state 0x1e4ed28
at address_space_memory 0x1e6fee0
at ram_list 0x1e70020
at kvm_allowed 0x1e7b5c4
(cd "$here" && gcc -g -O0 -fPIC -fno-eliminate-unused-debug-types -fdebug-prefix-map="$here"=. -c -o "$work/layout.o" qemu11-layout.c)
# shellcheck disable=SC2086
gcc -shared -nostdlib -Wl,--build-id=0x19082c1198d23ae45c6960a77fdc889301dfb4de -Wl,-e,0x50e210 $sections -o "$work/layout.so" "$work/layout.o"
objcopy --only-keep-debug "$work/layout.so" "$1"
