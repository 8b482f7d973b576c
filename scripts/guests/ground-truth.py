#!/usr/bin/env python3
"""Writes what drgn says of a Linux dump: tasks with kernel stacks, mounts, modules, network devices, open files, the kernel log.

Usage: ground-truth.py DUMP OUT.json DEBUGINFO-FOLDER [COPY]

DUMP is an ELF or kdump vmcore that drgn opens, DEBUGINFO-FOLDER holds vmlinux-RELEASE and the modules' debug files (from the
distribution's -dbg package). COPY keeps the copy of the dump that has virtual addresses. Frames of inlined functions are left out; a stack ends with the first pc in user space. Numbers
named pc, task and address are hexadecimal texts without 0x, `state` is the raw number of the task's state. Idle tasks are
listed apart (pid 0, one a CPU). What drgn can't tell is null.
"""
import gzip
import json
import mmap
import os
import re
import shutil
import struct
import sys
import tempfile

import drgn
from drgn import Program
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import cmdline, environ
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg


def program_headers(file):
    """Program headers of an ELF64 little-endian file, as tuples in the file's order of fields."""
    offset, size, count = struct.unpack_from("<Q", file, 32)[0], *struct.unpack_from("<HH", file, 54)
    for i in range(count):
        yield struct.unpack_from("<IIQQQQQQ", file, offset + i * size)


def symbols(path, wanted):
    """Values of some symbols of an ELF64 little-endian file."""
    with open(path, "rb") as f:
        file = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    offset, size, count = struct.unpack_from("<Q", file, 40)[0], *struct.unpack_from("<HH", file, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", file, offset + i * size) for i in range(count)]
    found = {}
    for _, kind, _, _, where, length, link, _, _, _ in sections:
        if kind != 2:
            continue
        names = file[sections[link][4] : sections[link][4] + sections[link][5]]
        for at, _, _, _, value, _ in struct.iter_unpack("<IBBHQQ", file[where : where + length]):
            name = names[at : at + 20].split(b"\0")[0].decode()
            if name in wanted:
                found[name] = value
    return found


def with_virtual_addresses(dump, vmlinux, keep):
    """Copies a dump and gives its segments the direct map's addresses, and the kernel's image its own; returns the copy's path.

    QEMU's dumps without paging have p_vaddr 0. drgn starts its walk at the kernel's top page table, which it wants by a
    virtual address, and would take low user addresses for physical ones.
    """
    with open(dump, "rb") as f:
        file = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    if file[:4] != b"\x7fELF":
        return dump
    at = file.find(b"OSRELEASE=", 0, 1 << 20)
    # the note's head: 12 bytes, then "VMCOREINFO" padded to 12; its text need not end with NUL
    note = file[at : at + struct.unpack_from("<I", file, at - 20)[0]].decode()
    number = {k: int(v, 0) for k, v in re.findall(r"^NUMBER\((\w+)\)=(-?\w+)$", note, re.M)}
    slide = int(re.search(r"^KERNELOFFSET=(\w+)", note, re.M).group(1), 16)
    static = symbols(vmlinux, {"_text", "_end", "page_offset_base"})
    text, end = static["_text"] + slide, static["_end"] + slide
    headers = [h for h in program_headers(file)]

    def physical(address):
        for kind, _, where, _, base, length, _, _ in headers:
            if kind == 1 and base <= address < base + length:
                return where + address - base
        raise LookupError(f"physical address {address:#x} is not in the dump")

    if file[18:20] == b"\x3e\0":
        image = 0xFFFFFFFF80000000 - number["phys_base"]
        at = physical(static["page_offset_base"] + slide - image)
        direct = int.from_bytes(file[at : at + 8], "little")
    else:
        image = number["kimage_voffset"]
        direct = ((MASK << number["VA_BITS"]) & MASK) - number["PHYS_OFFSET"]
    low, high = (text - image) & MASK, (end - image) & MASK
    new = []
    for kind, flags, where, virtual, base, length, memory, align in headers:
        new.append((kind, flags, where, (direct + base) & MASK if kind == 1 else virtual, base, length, memory, align))
        first, last = max(low, base), min(high, base + length)
        if kind == 1 and first < last:
            new.append((1, 7, where + first - base, (image + first) & MASK, first, last - first, last - first, 0))
    copy = keep or tempfile.NamedTemporaryFile(prefix="ground-truth-", dir=os.environ.get("TMPDIR", "/tmp"), delete=False).name
    shutil.copyfile(dump, copy)
    table = b"".join(struct.pack("<IIQQQQQQ", *h) for h in new)
    with open(copy, "r+b") as f:
        # makedumpfile looks for program headers behind the ELF header alone, where QEMU has its section headers
        fits = 64 + len(table) <= min(h[2] for h in new)
        where = f.seek(64 if fits else 0, os.SEEK_SET if fits else os.SEEK_END)
        f.write(table)
        f.seek(32)
        f.write(struct.pack("<QQIHHHHHH", where, 0, 0, 64, 56, len(new), 64, 0, 0))
    return copy


MASK = (1 << 64) - 1


def opened(dump, folder, keep):
    files = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
    modules = {os.path.basename(f).split(".ko")[0].replace("-", "_"): f for f in files if ".ko" in f}
    kernel = [f for f in files if os.path.basename(f).startswith("vmlinux")]
    copy = with_virtual_addresses(dump, kernel[0], keep)
    prog = Program()
    prog.set_core_dump(copy)
    if copy not in (dump, keep):
        os.remove(copy)
    prog.load_debug_info(kernel)
    loaded = [m.name.string_().decode() for m in list_for_each_entry("struct module", prog["modules"].address_of_(), "list")]
    have = [modules[m] for m in loaded if m in modules]
    try:
        prog.load_debug_info(have)
    except drgn.MissingDebugInfoError as e:
        print(e, file=sys.stderr)
    return prog


def attempt(function, otherwise=None):
    try:
        return function()
    except (drgn.FaultError, ValueError, LookupError, AttributeError, TypeError) as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return otherwise


def symbol(prog, pc, is_caller):
    try:
        s = prog.symbol(pc - 1 if is_caller else pc)
    except LookupError:
        return None
    return f"{s.name}+{pc - s.address:#x}/{s.size:#x}"


def stack(prog, task, bits):
    frames = []
    try:
        trace = prog.stack_trace(task)
    except ValueError as e:
        return [], str(e)
    kernel_half = 1 << (bits - 1)
    for i, frame in enumerate(trace):
        try:
            pc = frame.pc
        except LookupError:
            break
        if i + 1 < len(trace) and getattr(frame, "is_inline", False):
            continue
        if pc < kernel_half:
            frames.append({"pc": f"{pc:x}"})
            break
        one = {"pc": f"{pc:x}"}
        try:
            text = symbol(prog, pc, not frame.interrupted and i > 0)
        except AttributeError:
            text = symbol(prog, pc, i > 0)
        if text:
            one["symbol"] = text
        if i and frame.interrupted:
            one["interrupted"] = True
        sp = attempt(lambda: frame.sp)
        if sp is not None:
            one["sp"] = f"{sp:x}"
        frames.append(one)
    return merged(frames), None


def merged(frames):
    """Inlined functions give several frames of one pc: one is kept."""
    out = []
    for f in frames:
        if out and out[-1]["pc"] == f["pc"] and out[-1].get("sp") == f.get("sp"):
            continue
        out.append(f)
    return out


def task_facts(prog, task):
    raw = task.member_("__state").value_()
    frames, why = stack(prog, task, 64)
    user = bool(task.mm)
    facts = {
        "pid": task.pid.value_(),
        "tgid": task.tgid.value_(),
        "ppid": task.real_parent.tgid.value_(),
        "comm": task.comm.string_().decode(),
        "state": raw,
        "kthread": bool(task.flags.value_() & 0x200000),
        "uid": task.cred.uid.val.value_(),
        "task": f"{task.value_():x}",
        "cpu": attempt(lambda: (task.cpu if hasattr(task, "cpu") else task.thread_info.cpu).value_()),
        "on_cpu": task.on_cpu.value_(),
        "start_time": task.start_time.value_(),
        "utime": task.utime.value_(),
        "stime": task.stime.value_(),
        "stack": frames,
        "cmdline": [a.decode("utf-8", "replace") for a in attempt(lambda: cmdline(task), [])] if user else [],
    }
    if user:
        facts["environ"] = [a.decode("utf-8", "replace") for a in attempt(lambda: environ(task), [])]
    if why:
        facts["stack_error"] = why
    return facts


def mounts(prog):
    from drgn.helpers.linux.fs import for_each_mount, mount_dst, mount_fstype, mount_src

    return [
        {"source": mount_src(m).decode(), "target": mount_dst(m).decode(), "type": mount_fstype(m).decode()}
        for m in for_each_mount(prog)
    ]


def modules(prog):
    out = []
    for m in list_for_each_entry("struct module", prog["modules"].address_of_(), "list"):
        try:
            layout = m.core_layout
            base, size = layout.base.value_(), layout.size.value_()
        except AttributeError:
            base, size = m.mem[0].base.value_(), m.mem[0].size.value_()
        out.append({"name": m.name.string_().decode(), "address": f"{base:x}", "text_size": size})
    return out


def namespaces(prog):
    out = []
    for net in list_for_each_entry("struct net", prog["net_namespace_list"].address_of_(), "list"):
        out.append(
            {
                "net": f"{net.value_():x}",
                "inum": net.ns.inum.value_(),
                "devices": [
                    {"name": d.name.string_().decode(), "ifindex": d.ifindex.value_(), "mtu": d.mtu.value_(), "flags": d.flags.value_(), "address": f"{d.value_():x}"}
                    for d in list_for_each_entry("struct net_device", net.dev_base_head.address_of_(), "dev_list")
                ],
            }
        )
    return out


def open_files(prog):
    from drgn.helpers.linux.fs import d_path, for_each_file

    out = []
    for task in for_each_task(prog):
        if task.pid != task.tgid or not task.mm or not task.files:
            continue
        for fd, file in attempt(lambda: list(for_each_file(task)), []):
            path = attempt(lambda: d_path(file.f_path).decode("utf-8", "replace"))
            out.append({"pid": task.pid.value_(), "fd": int(fd), "file": f"{file.value_():x}", "path": path, "inode": attempt(lambda: file.f_inode.i_ino.value_())})
    return out


def idle(prog):
    from drgn.helpers.linux.cpumask import for_each_possible_cpu
    from drgn.helpers.linux.sched import idle_task

    return [{"cpu": cpu, **task_facts(prog, idle_task(prog, cpu))} for cpu in for_each_possible_cpu(prog)]


def main():
    dump, out, folder = sys.argv[1:4]
    prog = opened(dump, folder, sys.argv[4] if len(sys.argv) > 4 else None)
    truth = {
        "drgn": drgn.__version__,
        "release": prog["init_uts_ns"].name.release.string_().decode(),
        "tasks": sorted((attempt(lambda: task_facts(prog, t), {"pid": -1}) for t in for_each_task(prog)), key=lambda t: t["pid"]),
        "idle": attempt(lambda: idle(prog)),
        "mounts": attempt(lambda: mounts(prog)),
        "modules": attempt(lambda: modules(prog)),
        "net": attempt(lambda: namespaces(prog)),
        "files": attempt(lambda: open_files(prog)),
        "dmesg": attempt(lambda: get_dmesg(prog).decode("utf-8", "replace").split("\n")),
    }
    data = json.dumps(truth, indent=1).encode()
    with (gzip.open(out, "wb", 9) if out.endswith(".gz") else open(out, "wb")) as f:
        f.write(data)
    print(f"{out}: {len(truth['tasks'])} tasks, {len(truth['modules'] or [])} modules, {len(truth['files'] or [])} files")


if __name__ == "__main__":
    main()
