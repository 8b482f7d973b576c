#!/usr/bin/env python3
"""Writes what drgn says of bytes at random places of each kind of a Linux dump's memory: whose they are.

Usage: page-truth.py DUMP OUT.json DEBUGINFO-FOLDER [COUNT]

Arguments are those of ground-truth.py. For each kind COUNT places (default 12), with fixed seed: objects of slab caches, pages of files,
kernel stacks, per-CPU variables, areas of vmalloc(), free blocks and page tables. `gpa` is guest-physical; all numbers are decimal.
"""
import gzip
import importlib.util
import json
import os
import random
import re
import sys

import drgn
from drgn import FaultError
from drgn.helpers.linux.fs import inode_path
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import (
    compound_head,
    follow_phys,
    for_each_vma,
    for_each_vmap_area,
    page_to_pfn,
    page_to_virt,
    pfn_to_page,
    phys_to_virt,
    virt_to_phys,
)
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.slab import slab_object_info

spec = importlib.util.spec_from_file_location("ground_truth", os.path.join(os.path.dirname(os.path.abspath(__file__)), "ground-truth.py"))
ground_truth = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ground_truth)

PAGE = 4096
SEED = 19
rng = random.Random(SEED)


def frames(prog):
    """Numbers of page frames, without end."""
    spans = list(ram(prog))
    while True:
        yield rng.randrange(*rng.choice(spans))


def ram(prog):
    """[low, high) of the kernel's zones."""
    for zone in zones(prog):
        start = zone.zone_start_pfn.value_()
        yield start, start + zone.spanned_pages.value_()


def zones(prog):
    try:
        node = prog["node_data"][0]
    except KeyError:
        node = prog["contig_page_data"].address_of_()
    for i in range(node.nr_zones.value_()):
        zone = node.node_zones[i]
        if zone.present_pages.value_() > 0:
            yield zone


def member(obj, *names):
    for name in names:
        try:
            return getattr(obj, name)
        except AttributeError:
            pass
    raise AttributeError(names)


def slab_place(prog, pfn):
    gpa = pfn * PAGE + rng.randrange(PAGE)
    virt = phys_to_virt(prog, gpa)
    info = slab_object_info(virt)
    if info is None:
        return None
    base = page_to_virt(compound_head(pfn_to_page(prog, pfn))).value_()
    cache = info.slab_cache
    if (info.address - base) // cache.size.value_() >= info.slab.objects.value_():
        return None  # what is left at a slab's end
    return {
        "gpa": gpa,
        "kind": "slab",
        "cache": cache.name.string_().decode(),
        "size": cache.size.value_(),
        "index": (info.address - base) // cache.size.value_(),
        "object": info.address,
        "offset": virt.value_() - info.address,
        "allocated": info.allocated,
    }


def file_place(prog, pfn):
    page = pfn_to_page(prog, pfn)
    head = compound_head(page)
    mapping = head.mapping.value_()
    if mapping == 0 or mapping & 3:
        return None
    host = head.mapping.host
    if not host or host.i_mapping.value_() != mapping:
        return None
    index = member(head, "index", "__folio_index").value_() + pfn - page_to_pfn(head).value_()
    within = rng.randrange(PAGE)
    path = inode_path(host) or None
    return {
        "gpa": pfn * PAGE + within,
        "kind": "file",
        "inode": host.i_ino.value_(),
        "fileSystem": host.i_sb.s_type.name.string_().decode(),
        "device": host.i_sb.s_id.string_().decode(),
        "path": None if path is None else path.decode(),
        "offset": index * PAGE + within,
    }


def sampled(prog, place, count):
    found, seen = [], {}
    for _, pfn in zip(range(200_000), frames(prog)):
        try:
            here = place(prog, pfn)
        except (FaultError, ValueError, LookupError, AttributeError):
            continue
        if here is None:
            continue
        # no more than two of one cache or file
        key = here.get("cache") or (here.get("inode"), here.get("device"))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 2:
            continue
        found.append(here)
        if len(found) == count:
            break
    return found


def physical(prog, address):
    return follow_phys(prog["init_mm"].address_of_(), address).value_()


def stacks(prog, count):
    tasks = list(for_each_task(prog))
    size = 16384
    for task in rng.sample(tasks, min(count, len(tasks))):
        offset = rng.randrange(size)
        yield {
            "gpa": physical(prog, task.stack.value_() + offset),
            "kind": "stack",
            "pid": task.pid.value_(),
            "comm": task.comm.string_().decode(),
            "offset": offset,
        }


def per_cpu(prog, count):
    cpus = [cpu for cpu in range(8) if (prog["__cpu_possible_mask"].bits[0].value_() >> cpu) & 1]
    for name in ["runqueues", "vm_event_states", "softnet_data", "cpu_info", "cpu_hw_events", "tick_cpu_sched", "hrtimer_bases", "kernel_cpustat"][:count]:
        for cpu in cpus:
            try:
                variable = per_cpu_ptr(prog[name].address_of_(), cpu)
                size = prog[name].type_.size
            except (KeyError, TypeError):
                continue
            offset = rng.randrange(size)
            yield {"gpa": physical(prog, variable.value_() + offset), "kind": "per-cpu", "symbol": name, "cpu": cpu, "offset": offset}


def vmalloc(prog, count):
    # VM_ALLOC or VM_MAP
    areas = [a for a in for_each_vmap_area(prog) if a.vm and a.vm.flags.value_() & 6]
    stacks = {task.stack.value_() for task in for_each_task(prog)}
    areas = [a for a in areas if a.vm.nr_pages.value_() > 0 and a.va_start.value_() not in stacks]
    for area in rng.sample(areas, len(areas)):
        caller = area.vm.caller.value_()
        try:
            symbol = prog.symbol(caller)
        except LookupError:
            continue
        # modules are named by their own symbols, stacks of idle tasks by these
        if re.search("module|execmem|bpf|fork|kernel_clone|copy_process", symbol.name):
            continue
        offset = rng.randrange(area.vm.nr_pages.value_() * PAGE)
        yield {
            "gpa": physical(prog, area.va_start.value_() + offset),
            "kind": "vmalloc",
            "address": area.va_start.value_() + offset,
            "start": area.va_start.value_(),
            "caller": f"{symbol.name}+{caller - symbol.address:#x}",
        }
        count -= 1
        if count == 0:
            return


def free(prog, count):
    found = []
    for zone in zones(prog):
        areas = zone.free_area
        for order in range(len(areas)):
            lists = areas[order].free_list
            for kind in range(len(lists)):
                link = "buddy_list" if prog.type("struct page").has_member("buddy_list") else "lru"
                for page in list_for_each_entry("struct page", lists[kind].address_of_(), link):
                    found.append((page_to_pfn(page).value_(), order))
    for pfn, order in rng.sample(found, min(count, len(found))):
        within = rng.randrange(PAGE << order)
        yield {"gpa": pfn * PAGE + within, "kind": "free", "order": order}


def levels(prog):
    """Levels of page tables, and the bits of an entry that are an address."""
    if prog.platform.arch == drgn.Architecture.X86_64:
        return 5 if "pgtable_l5_enabled)=1" in vmcoreinfo(prog) else 4
    t1sz = int(re.search(r"TCR_EL1_T1SZ\)=0x(\w+)", vmcoreinfo(prog)).group(1), 16)
    return -(-(64 - t1sz - 12) // 9)


def vmcoreinfo(prog):
    return prog["vmcoreinfo_data"].string_().decode()


def tables(prog, count):
    """Last tables on the way to addresses that processes have mapped (pages of 4 KiB)."""
    found = set()
    for task in for_each_task(prog):
        if not task.mm:
            continue
        for vma in for_each_vma(task.mm):
            address = vma.vm_start.value_()
            table = virt_to_phys(task.mm.pgd).value_()
            for level in range(levels(prog) - 1, 0, -1):
                entry = prog.read_u64(table + 8 * (address >> (12 + 9 * level) & 511), True)
                table = (entry >> 12 & 0xF_FFFF_FFFF) * PAGE
                # nothing there, or a large page
                if not entry & 1 or (entry & 0x80 if prog.platform.arch == drgn.Architecture.X86_64 else not entry & 2):
                    break
            else:
                found.add(table)
    for gpa in rng.sample(sorted(found), min(count, len(found))):
        yield {"gpa": gpa + rng.randrange(PAGE), "kind": "page-table"}


def main():
    dump, out, folder = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 12
    prog = ground_truth.opened(dump, folder, None)
    places = [*sampled(prog, slab_place, 2 * count), *sampled(prog, file_place, 2 * count)]
    for part in (stacks, per_cpu, vmalloc, free, tables):
        try:
            places.extend(part(prog, count))
        except (FaultError, ValueError, LookupError, AttributeError, TypeError) as e:
            print(f"{part.__name__}: {type(e).__name__}: {e}", file=sys.stderr)
    data = json.dumps(places, indent=1).encode()
    with (gzip.open(out, "wb", 9) if out.endswith(".gz") else open(out, "wb")) as f:
        f.write(data)
    kinds = [place["kind"] for place in places]
    print(out, {kind: kinds.count(kind) for kind in sorted(set(kinds))})


if __name__ == "__main__":
    main()
