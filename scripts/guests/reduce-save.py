#!/usr/bin/env python3
"""Empties all pages of a saved guest but those that readers read of a dump of it.

Usage: reduce-save.py SAVE DUMP.elf OUT TRACE...

DUMP.elf is the ELF vmcore that guestscope extracts from SAVE, each TRACE what
`strace -f -qq -e trace=read,pread64,lseek,openat,close -s 0 -o TRACE READER … DUMP.elf` says of one reader. Pages that none
of them read are zeros in OUT; everything else is as in SAVE: a QEMU migration stream or an xl save of Xen.
"""
import mmap
import os
import re
import struct
import sys

PAGE = 4096


def places_read(trace, name):
    """Half-open ranges of a file's offsets that a traced program read."""
    offsets = {}
    for line in open(trace):
        call = re.match(r"\d+ +(\w+)\((.*)\) += (-?\d+)", line)
        if call is None or int(call[3]) < 0:
            continue
        kind, said, value = call[1], call[2], int(call[3])
        if kind == "openat":
            offsets.pop(value, None)
            if f'/{name}"' in said or f'"{name}"' in said:
                offsets[value] = 0
            continue
        fd = re.match(r"\d+", said)
        fd = int(fd[0]) if fd else -1
        if fd not in offsets:
            continue
        if kind == "close":
            del offsets[fd]
        elif kind == "lseek":
            offsets[fd] = value
        elif kind == "pread64":
            at = int(said.rsplit(", ", 1)[1], 0)
            yield at, at + value
        elif kind == "read":
            yield offsets[fd], offsets[fd] + value
            offsets[fd] += value


def frames_read(dump, traces):
    with open(dump, "rb") as file:
        head = file.read(1 << 20)
    at, count = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<H", head, 56)[0]
    loads = [struct.unpack_from("<IIQQQQQQ", head, at + 56 * i) for i in range(count)]
    frames = set()
    with open(dump, "rb") as file:
        contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for kind, _, offset, _, address, size, _, _ in loads:
        for at in range(offset, offset + size if kind == 1 else 0, PAGE):
            # the kernel's note for dumps and the same as text
            if contents[at : at + 10] == b"OSRELEASE=" or contents[at + 12 : at + 22] == b"VMCOREINFO":
                frames.update([(at - offset + address) // PAGE, (at - offset + address) // PAGE + 1])

    def read(at):
        for kind, _, offset, _, address, size, _, _ in loads:
            if kind == 1 and address <= at < address + size:
                return contents[at - address + offset : at - address + offset + PAGE]
        return bytes(PAGE)

    kernel_tables(frames, read)
    for trace in traces:
        for start, end in places_read(trace, os.path.basename(dump)):
            # what looks through all of the memory looks for something that is found earlier
            if end - start > 1 << 20:
                continue
            for kind, _, offset, _, address, size, _, _ in loads:
                low, high = max(start, offset), min(end, offset + size)
                if kind == 1 and low < high:
                    frames.update(range((low - offset + address) // PAGE, (high - 1 - offset + address) // PAGE + 1))
    return frames


def kernel_tables(frames, read):
    """Adds the page tables of an x86_64 kernel of four levels: libkdumpfile walks them, whatever the segments say."""
    note = b"".join(read(frame * PAGE) for frame in sorted(frames))
    symbol = re.search(rb"SYMBOL\(swapper_pg_dir\)=(\w+)", note)
    base = re.search(rb"NUMBER\(phys_base\)=(-?\d+)", note)
    waiting = [((int(symbol[1], 16) - 0xFFFF_FFFF_8000_0000 + int(base[1])) // PAGE, 4)]
    while waiting:
        frame, level = waiting.pop()
        frames.add(frame)
        for index, entry in enumerate(struct.unpack("<512Q", read(frame * PAGE))):
            isUser = level == 4 and index < 256
            if entry & 1 and not isUser and level > 1 and (level == 4 or not entry & 0x80):
                waiting.append(((entry & 0xF_FFFF_FFFF_F000) // PAGE, level - 1))


def emptied_xen(data, keep):
    """An xl save whose libxc stream has other pages than `keep` as zeros."""
    at = data.index(struct.pack("<QI", 0xFFFF_FFFF_FFFF_FFFF, 0x464E4558)[:8] + b"XENF") + 24 + 16
    parts = [data[:at]]
    while True:
        kind, size = struct.unpack_from("<II", data, at)
        end = at + 8 + (size + 7) // 8 * 8
        if kind != 1:
            parts.append(data[at:end])
        else:
            count = struct.unpack_from("<I", data, at + 8)[0]
            entries = struct.unpack_from(f"<{count}Q", data, at + 16)
            page = at + 16 + 8 * count
            parts.append(data[at:page])
            for entry in entries:
                if entry >> 60 >= 0xD:
                    continue
                isKept = entry & (1 << 52) - 1 in keep
                parts.append(data[page : page + PAGE] if isKept else bytes(PAGE))
                page += PAGE
        at = end
        if kind == 0:
            return b"".join(parts) + data[at:]


def emptied_qemu(data, keep):
    """A QEMU stream whose main memory, at guest-physical address 0 and below 2 GiB, has other pages than `keep` as zeros."""
    at, parts = 8, [data[:8]]
    done = 8
    name, main = "", None
    while True:
        kind = data[at]
        if kind == 7:
            at += 5 + struct.unpack_from(">I", data, at + 1)[0]
            # subsections of the configuration
            while data[at] == 5:
                at = data.index(b"\x01", at)
            continue
        if kind not in (1, 2, 3):
            return b"".join(parts) + data[done:]
        if kind == 1:
            length = data[at + 5]
            if data[at + 6 : at + 6 + length] != b"ram":
                raise SystemExit("a section before ram")
            at += 6 + length + 8
        else:
            at += 5
        while True:
            word = struct.unpack_from(">Q", data, at)[0]
            flags, offset = word & (PAGE - 1), word & ~(PAGE - 1)
            start, at = at, at + 8
            if flags & 0x10:
                break
            if flags & 4:
                total = offset
                while total > 0:
                    length = data[at]
                    block, size = data[at + 1 : at + 1 + length], struct.unpack_from(">Q", data, at + 1 + length)[0]
                    main = main or block
                    at, total = at + 1 + length + 8, total - size
                continue
            if not flags & 0x20:
                length = data[at]
                name, at = data[at + 1 : at + 1 + length], at + 1 + length
            if flags & 2:
                at += 1
            elif flags & 8:
                if name == main and offset // PAGE not in keep:
                    parts += [data[done:start], struct.pack(">Q", offset | flags & 0x20 | 2), data[start + 8 : at], b"\0"]
                    done = at + PAGE
                at += PAGE
            else:
                raise SystemExit(f"a record with flags {flags:#x}")
        # the footer: 7e and the section's number
        at += 5


def main():
    save, dump, out, *traces = sys.argv[1:]
    keep = frames_read(dump, traces)
    with open(save, "rb") as file:
        data = file.read()
    emptied = emptied_qemu(data, keep) if data[:4] == b"QEVM" else emptied_xen(data, keep)
    with open(out, "wb") as file:
        file.write(emptied)
    print(f"{len(keep)} pages of {PAGE} bytes kept")


main()
