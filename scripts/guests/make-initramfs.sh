#!/bin/sh
# make-initramfs.sh ROOT RELEASE ARCH BUSYBOX GUESTWORK OUT
#
# Makes the initramfs of a test guest. ROOT is where Debian's linux-image package was unpacked (not installed), RELEASE its
# kernel release, ARCH amd64 or arm64, BUSYBOX a static busybox and GUESTWORK a static guestwork.c of that architecture.
# Needs: cpio, depmod and modinfo (kmod), mke2fs (e2fsprogs), xz, zstd.
set -e
root=$1 release=$2 arch=$3 busybox=$4 guestwork=$5 out=$6
here=$(cd "$(dirname "$0")" && pwd)
wanted="crc32c_generic crc32c_intel virtio_pci virtio_mmio virtio_net virtio_blk virtio_mem virtio_balloon qemu_fw_cfg e1000 loop nbd brd ext4 fuse tun dummy veth bridge overlay 9p 9pnet_virtio 8021q"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/images" "$tree/lib/modules/$release"
from=$root/lib/modules/$release
[ -d "$from" ] || from=$root/usr/lib/modules/$release
[ -e "$from/modules.dep" ] || depmod -b "${from%/lib/modules/*}" "$release"
for module in $wanted; do
	path=$(grep -E "^[^:]*/$(echo "$module" | tr _ '?' | sed 's/?/[-_]/g')\.ko[^:]*:" "$from/modules.dep" || true)
	[ -n "$path" ] || continue
	for file in $(echo "$path" | tr -d :); do
		to="$tree/lib/modules/$release/${file%.ko*}.ko"
		mkdir -p "$(dirname "$to")"
		case $file in
		*.xz) xz -dc "$from/$file" > "$to" ;;
		*.zst) zstd -qdc "$from/$file" > "$to" ;;
		*) cp "$from/$file" "$to" ;;
		esac
	done
	echo "$module" >> "$tree/modules"
done
cp "$from/modules.builtin" "$from/modules.order" "$tree/lib/modules/$release/"
depmod -b "$tree" "$release" 2>/dev/null
cp "$busybox" "$tree/bin/busybox"
cp "$guestwork" "$tree/bin/guestwork"
cp "$here/init" "$tree/init"
chmod 755 "$tree/init" "$tree/bin/busybox" "$tree/bin/guestwork"
for image in ext4 frozen; do
	truncate -s 8M "$tree/images/$image.img"
	mke2fs -q -t ext4 -L "$image" "$tree/images/$image.img"
done
(cd "$tree" && find . | cpio -o -H newc --quiet | zstd -q -6 > "$out.tmp")
mv "$out.tmp" "$out"
