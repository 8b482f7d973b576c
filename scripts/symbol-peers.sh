#!/usr/bin/env bash
# usage: scripts/symbol-peers.sh SAVE [FOLDER]
#
# Opens a saved Linux guest with volatility3, crash and drgn, by symbol files that guestscope made of the same save and
# nothing else, and compares the tasks that each lists with those of `guestscope ps`. What each printed stays in FOLDER
# (default: a new one below /tmp). `npm run build` first.
#
# VOLATILITY  folder of a checkout of volatility3 (needs Debian's python3-pefile); left out when it is not set
# VOLATILITY_PYTHON  its python3 (default: python3)
# CRASH       crash, with what comes before it: "chroot /sid crash" (default: crash)
# DRGN        drgn, with what comes before it (default: drgn)
# PLUGINS     of volatility3 (default: those for tasks, files, modules, mounts, sockets, log, shells)
set -euo pipefail
save=$(realpath "$1")
out=${2:-$(mktemp -d)}
mkdir -p "$out/symbols/linux"
out=$(realpath "$out")
tree=$(realpath "$(dirname "$0")/..")
guestscope() { node "$tree/dist/cli/main.js" "$@"; }
failed=0
report() { printf '%-10s %-12s %s\n' "$@"; }

guestscope extract --quiet --force "$save" "$out/guest.core"
guestscope symbols --quiet --force "$save" "$out/vmlinux"
guestscope symbols --quiet --force --to isf "$save" "$out/symbols/linux/guest.json.gz"
guestscope ps --json "$save" > "$out/ps.json"
# idle tasks are in nobody's list of tasks
ours="$out/ours.txt"
node -e '
  const { tasks } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
  for (const { pid, comm, idle } of tasks) if (idle !== true) console.log(pid, comm);
' "$out/ps.json" | sort -n > "$ours"

# compare PROGRAM WHAT FILE: pid and name of each task, one a line
compare() {
  if diff "$ours" "$3" > "$3.diff"; then report "$1" "$2" "the $(wc -l < "$ours") tasks of guestscope ps"
  else report "$1" "$2" "differs: $3.diff"; failed=1; fi
}

if [ -n "${VOLATILITY:-}" ]; then
  for plugin in ${PLUGINS:-pslist pstree psaux lsof lsmod mountinfo sockstat kmsg bash}; do
    file="$out/volatility.$plugin.json"
    if (cd "$VOLATILITY" && "${VOLATILITY_PYTHON:-python3}" vol.py --offline -q -r json -s "$out/symbols" -f "$out/guest.core" "linux.$plugin") \
      > "$file" 2> "$file.err"; then
      report volatility "$plugin" "$(node -p 'JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8")).length' "$file") rows"
    else report volatility "$plugin" "failed: $(tail -n 1 "$file.err")"; failed=1; fi
  done
  if [ -f "$out/volatility.pslist.json" ]; then
    node -e '
      for (const { PID, COMM } of JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"))) console.log(PID, COMM);
    ' "$out/volatility.pslist.json" | sort -n > "$out/volatility.tasks"
    compare volatility pslist "$out/volatility.tasks"
  fi
fi

# one `ps -G`, which lists processes and not their threads
cat > "$out/crash.commands" <<'END'
sys > sys.txt
log > log.txt
mod > mod.txt
mount > mount.txt
net > net.txt
struct task_struct > struct.txt
ps -G > ps.txt
bt -a > bt.txt
foreach bt > foreach-bt.txt
files 1 > files.txt
vm 1 > vm.txt
kmem -i > kmem.txt
quit
END
if (cd "$out" && timeout 600 ${CRASH:-crash} -s -i "$out/crash.commands" "$out/vmlinux" "$out/guest.core") > "$out/crash.txt" 2>&1; then
  for what in sys log mod mount net struct ps bt foreach-bt files vm kmem; do
    report crash "$what" "$([ -f "$out/$what.txt" ] && wc -l < "$out/$what.txt" || echo no) lines"
  done
else report crash "" "failed: $(tail -n 1 "$out/crash.txt")"; failed=1; fi

cat > "$out/tasks.py" <<'END'
import sys
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import for_each_task
assert prog["init_task"].comm.string_().startswith(b"swapper")
frames = bad = 0
for task in for_each_task(prog):
    if task.pid == task.tgid:
        print(task.pid.value_(), task.comm.string_().decode())
    try:
        frames += len(prog.stack_trace(task))
    except Exception:
        bad += 1
modules = sum(1 for _ in list_for_each_entry("struct module", prog["modules"].address_of_(), "list"))
print(f"{frames} frames, {bad} tasks without a stack, {modules} modules", file=sys.stderr)
END
if ${DRGN:-drgn} --version > /dev/null 2>&1; then
  ${DRGN:-drgn} -q -c "$out/guest.core" -s "$out/vmlinux" "$out/tasks.py" 2> "$out/drgn.err" | sort -n > "$out/drgn.tasks" || true
  report drgn stacks "$(tail -n 1 "$out/drgn.err")"
  compare drgn tasks "$out/drgn.tasks"
fi
echo "what each printed: $out"
exit "$failed"
