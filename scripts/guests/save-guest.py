#!/usr/bin/env python3
"""Boots a test guest in QEMU, stops it and saves what QEMU can save of it.

Order: boot, wait for "GUEST-READY" on the serial console, let it run a little, stop (or stop at a breakpoint), then from
the one stopped state: NAME.registers.txt, NAME.mtree.txt, NAME.ramblock.txt, NAME.elf (dump-guest-memory), NAME.kdump
(-z, asked for), a snapshot in a qcow2 disk (asked for), NAME.qevm (migration stream). Nothing runs between these, so
they hold the same guest. NAME.console.txt is all that the guest printed, NAME.json how it was made.

Needs no package beyond Python's own library. QEMU is run with TCG unless --accel says otherwise.
"""
import argparse
import atexit
import json
import os
import random
import re
import socket
import subprocess
import sys
import time


class Qmp:
    """QEMU's monitor over a unix socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            line = self.lines.readline()
            if not line:
                raise EOFError("QEMU has gone")
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def human(self, line):
        return self("human-monitor-command", command_line=line)


class Stub:
    """QEMU's gdb stub: enough of the remote protocol for one breakpoint."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def send(self, text):
        data = text.encode()
        self.socket.sendall(b"$" + data + b"#%02x" % (sum(data) & 255))

    def answer(self, timeout):
        self.socket.settimeout(timeout)
        data = b""
        while not re.search(rb"\$([^#]*)#..", data):
            data += self.socket.recv(4096)
        self.socket.sendall(b"+")
        return re.search(rb"\$([^#]*)#..", data).group(1).decode()

    def ask(self, text, timeout=10):
        self.send(text)
        return self.answer(timeout)

    def run_to(self, address, timeout):
        self.ask("?")
        said = self.ask(f"Z1,{address:x},1")
        while said[:1] in "TS":  # the stop of the connection itself may be told twice
            said = self.answer(10)
        if said != "OK":
            raise RuntimeError(f"no breakpoint: {said}")
        self.send("c")
        return self.answer(timeout)


def save(a, qmp, base, qemu, facts):
    """Writes what the stopped guest is saved as."""
    for word, human in (("registers", "info registers -a"), ("mtree", "info mtree -f"), ("ramblock", "info ramblock")):
        with open(f"{base}.{word}.txt", "w") as f:
            f.write(qmp.human(human).replace("\r", ""))
    qmp("dump-guest-memory", paging=False, protocol=f"file:{base}.elf")
    if a.kdump:
        qmp("dump-guest-memory", paging=False, protocol=f"file:{base}.kdump", format="kdump-zlib")
    if a.core:
        subprocess.run(a.core.split() + ["-o", base + ".core", str(qemu.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.rename(f"{base}.core.{qemu.pid}", base + ".core")
    if a.savevm:
        said = qmp.human("savevm saved")
        if said.strip():
            print(f"{a.name}: savevm: {said}")
    if not a.no_stream:
        qmp("migrate", uri=f"exec:cat > {base}.qevm")
        while True:
            state = qmp("query-migrate")["status"]
            if state in ("completed", "failed", "cancelled"):
                break
            time.sleep(0.2)
        facts["migration"] = state


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--name", required=True)
    p.add_argument("--out", required=True, help="folder for the files")
    p.add_argument("--qemu", default="qemu-system-x86_64")
    p.add_argument("--prefix", default="", help="command put before QEMU's (a chroot helper), split at spaces")
    p.add_argument("--accel", default="tcg")
    p.add_argument("--machine", default="q35")
    p.add_argument("--cpu", default="max")
    p.add_argument("--memory", default="384M")
    p.add_argument("--smp", default="2")
    p.add_argument("--kernel", required=True)
    p.add_argument("--initrd", required=True)
    p.add_argument("--append", default="", help="more of the kernel's command line")
    p.add_argument("--case", default="base", help="what the guest does: base, spin, panic, sysrq, busy, pair, many, virtio-mem")
    p.add_argument("--wait-for", default="GUEST-READY")
    p.add_argument("--timeout", type=float, default=400)
    p.add_argument("--settle", type=float, default=3, help="seconds from the wait's end to the stop")
    p.add_argument("--break-at", help="stop when a CPU gets to this kernel symbol (the guest prints its address)")
    p.add_argument("--break-offset", type=lambda v: int(v, 0), default=0)
    p.add_argument("--kdump", action="store_true")
    p.add_argument("--savevm", action="store_true")
    p.add_argument("--virtio-mem", help="MiB to plug of a 256 MiB virtio-mem device; with a second number (96,40) it is shrunk to that when the guest is ready, which leaves holes")
    p.add_argument("--core", help="gcore and what stands before it: also a core of the QEMU process, NAME.core")
    p.add_argument("--again", help="let the guest go on till it prints this, and save it a second time as NAME-later")
    p.add_argument("--no-stream", action="store_true")
    p.add_argument("--extra", action="append", default=[], help="one more option for QEMU (repeatable, split at spaces)")
    a = p.parse_args()

    os.makedirs(a.out, exist_ok=True)
    base = os.path.join(os.path.abspath(a.out), a.name)
    arm = "aarch64" in a.qemu
    console = base + ".console.txt"
    monitor, stub = (f"{base}.{x}.sock" for x in ("qmp", "gdb"))
    for old in (console, monitor, stub):
        if os.path.exists(old):
            os.remove(old)
    tty = "ttyAMA0" if arm else "ttyS0"
    # no_timer_check: on a loaded machine the kernel's test of its timer may find none
    append = f"console={tty} panic=0 no_timer_check memhp_default_state=online guestcase={a.case} {a.append}".strip()
    memory = a.memory + (",slots=4,maxmem=1G" if a.virtio_mem else "")
    command = a.prefix.split() + [
        a.qemu, "-accel", a.accel, "-M", a.machine, "-cpu", a.cpu, "-m", memory, "-smp", a.smp, "-display", "none", "-nodefaults",
        "-kernel", a.kernel, "-initrd", a.initrd, "-append", append, "-name", a.name, "-uuid", "3c1f6f0e-0d6c-4a3b-9a52-6b1f7a9e5d01",
        "-serial", f"file:{console}",
        "-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56",
        "-qmp", f"unix:{monitor},server=on,wait=off", "-gdb", f"unix:{stub},server=on,wait=off", "-device", "vmcoreinfo", "-no-reboot",
    ]
    if not arm:
        command += ["-device", "e1000,netdev=net1,mac=52:54:00:12:34:57", "-netdev", "user,id=net1,net=10.0.3.0/24"]
    if a.savevm:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base + ".qcow2", "64M"], check=True)
        command += ["-drive", f"if=none,id=disk,file={base}.qcow2,format=qcow2", "-device", "virtio-blk-pci,drive=disk"]
    if a.virtio_mem:
        command += ["-object", "memory-backend-ram,id=plug,size=256M", "-device", "virtio-mem-pci,id=vm0,memdev=plug,requested-size=0"]
    for extra in a.extra:
        command += extra.split()

    began = time.time()
    qemu = subprocess.Popen(command)
    atexit.register(lambda: qemu.poll() is None and qemu.kill())
    qmp = Qmp(monitor)
    def text():
        with open(console, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def wait(word):
        while word not in text():
            dead = a.case != "panic" and "end Kernel panic" in text()
            if dead or qemu.poll() is not None or time.time() - began > a.timeout:
                qemu.kill()
                sys.exit(f"{a.name}: no {word!r} on the console")
            time.sleep(0.5)

    facts = {"name": a.name, "case": a.case, "command": command[len(a.prefix.split()):], "append": append}

    def resize(mib, patience):
        qmp("qom-set", path="/machine/peripheral/vm0", property="requested-size", value=int(mib) << 20)
        for _ in range(patience):
            if qmp("qom-get", path="/machine/peripheral/vm0", property="size") == int(mib) << 20:
                break
            time.sleep(1)

    sizes = a.virtio_mem.split(",") if a.virtio_mem else []
    if sizes:
        wait("GUEST-WAITS-FOR-MEMORY")
        resize(sizes[0], 120)
    wait(a.wait_for)
    for size in sizes[1:]:
        resize(size, 40)
    if sizes:
        facts["virtio_mem"] = qmp("query-memory-devices")
    boot = time.time() - began
    held = None
    if a.break_at:
        m = re.search(rf"^([0-9a-f]+) \w {re.escape(a.break_at)}\s", text(), re.M)
        if not m:
            qemu.kill()
            sys.exit(f"{a.name}: the guest printed no address of {a.break_at}")
        time.sleep(a.settle)
        held = Stub(stub)
        facts["stopped_at"] = {"symbol": a.break_at, "address": m.group(1), "stub": held.run_to(int(m.group(1), 16) + a.break_offset, 120)}
    else:
        time.sleep(a.settle + random.random())
        qmp("stop")
    facts["status"] = qmp("query-status")
    facts["version"] = qmp("query-version")["qemu"]
    facts["boot_seconds"] = round(boot, 1)
    save(a, qmp, base, qemu, facts)
    if a.again:
        qmp("cont")
        wait(a.again)
        time.sleep(2)
        qmp("stop")
        save(a, qmp, base + "-later", qemu, facts)
    qmp("quit")
    qemu.wait(30)
    for old in (monitor, stub):
        if os.path.exists(old):
            os.remove(old)
    facts["files"] = {n: os.path.getsize(os.path.join(os.path.dirname(base), n)) for n in sorted(os.listdir(os.path.dirname(base))) if n.startswith(a.name)}
    with open(base + ".json", "w") as f:
        json.dump(facts, f, indent=1)
    print(f"{a.name}: ready after {boot:.0f} s, {facts.get('migration')}, {facts['status']}")


main()
