/*
 * A program with the structures of QEMU's memory map as they were at version QEMU (102 for 1.2, 702 for 7.2),
 * filled with a small guest: RAM (64 KiB unless RAM_PAGES says otherwise) in two ranges, a ROM seen twice (once
 * through an alias), a device, memory that dumps leave out. Prints "ready" and waits.
 * RAM_FILE names a file whose contents RAM has, instead of a pattern and VMCOREINFO of the program's own.
 * Processors are x86 unless GUEST_ARM, GUEST_PPC or GUEST_S390 is defined (since 1.6).
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef QEMU
#error "compile with -DQEMU=<version>"
#endif

#if QEMU >= 208
typedef __int128 Int128;
static Int128 int128(uint64_t a) { return a; }
#else
typedef struct Int128 { uint64_t lo; int64_t hi; } Int128;
static Int128 int128(uint64_t a) { return (Int128){ a, 0 }; }
#endif

#if QEMU >= 103
typedef uint64_t hwaddr;
#else
typedef uint64_t target_phys_addr_t;
typedef target_phys_addr_t hwaddr;
#endif
typedef uint64_t ram_addr_t;

typedef struct TypeImpl { const char *name; } TypeImpl;
typedef struct ObjectClass { TypeImpl *type; } ObjectClass;
typedef struct Object { ObjectClass *class; void *free; } Object;

typedef struct HostMemoryBackend { Object parent_obj; bool dump; } HostMemoryBackend;
typedef struct MachineState { Object parent_obj; bool dump_guest_core; uint64_t ram_size; } MachineState;
MachineState *current_machine;

typedef struct MemoryRegion MemoryRegion;
typedef struct RAMBlock RAMBlock;

struct RAMBlock {
    MemoryRegion *mr;
    uint8_t *host;
    ram_addr_t offset;
#if QEMU >= 203
    ram_addr_t used_length;
    ram_addr_t max_length;
#else
    ram_addr_t length;
#endif
    uint32_t flags;
    char idstr[256];
#if QEMU >= 104 && QEMU < 203
    struct { RAMBlock *tqe_next; RAMBlock **tqe_prev; } next;
#else
    struct { RAMBlock *le_next; RAMBlock **le_prev; } next;
#endif
    int fd;
#if QEMU >= 208
    size_t page_size;
#endif
#if QEMU >= 1100
    int guest_memfd_private;
    void *attributes;
#elif QEMU >= 900
    int guest_memfd;
#endif
};

typedef struct RAMList {
    RAMBlock *mru_block;
#if QEMU >= 104 && QEMU < 203
    struct { RAMBlock *tqh_first; RAMBlock **tqh_last; } blocks;
#else
    struct { RAMBlock *lh_first; } blocks;
#endif
} RAMList;

RAMList ram_list;

struct MemoryRegion {
#if QEMU >= 201
    Object parent_obj;
#endif
    Int128 size;
    hwaddr addr;
    bool ram;
    bool readonly;
    bool rom_device;
#if QEMU >= 106
    bool romd_mode;
#else
    bool readable;
#endif
#if QEMU >= 202 && QEMU < 208
    bool skip_dump;
#endif
#if QEMU >= 208
    bool ram_device;
#endif
#if QEMU >= 301
    bool nonvolatile;
#endif
#if QEMU >= 206
    RAMBlock *ram_block;
#else
    ram_addr_t ram_addr;
#endif
    MemoryRegion *alias;
    hwaddr alias_offset;
    int32_t priority;
    const char *name;
    Object *owner;
#if QEMU >= 601
    void *rdm;
#endif
};

typedef struct AddrRange { Int128 start; Int128 size; } AddrRange;

typedef struct FlatRange {
    MemoryRegion *mr;
    hwaddr offset_in_region;
    AddrRange addr;
#if QEMU >= 106
    bool romd_mode;
#else
    bool readable;
#endif
    bool readonly;
#if QEMU >= 301
    bool nonvolatile;
#endif
} FlatRange;

typedef struct FlatView {
#if QEMU >= 203
    struct { void *next; void *func; } rcu;
#endif
#if QEMU >= 106
    unsigned ref;
#endif
    FlatRange *ranges;
    unsigned nr;
    unsigned nr_allocated;
} FlatView;

typedef struct AddressSpace {
#if QEMU >= 103
    char *name;
#endif
    MemoryRegion *root;
#if QEMU >= 103
    FlatView *current_map;
#else
    FlatView current_map;
#endif
} AddressSpace;

#if QEMU < 103
static
#endif
AddressSpace address_space_memory;

#if defined GUEST_ARM
typedef struct CPUArchState {
    uint32_t regs[16];
    uint64_t xregs[32];
    uint64_t pc;
    uint32_t pstate;
    bool aarch64;
    bool thumb;
    uint32_t uncached_cpsr;
    uint32_t CF, VF, NF, ZF, QF, GE, condexec_bits;
    uint64_t daif;
    struct {
        union { struct { uint64_t unused, sctlr_ns; }; uint64_t sctlr_el[4]; };
        uint64_t ttbr1_el[4];
        struct { uint64_t raw_tcr; uint32_t mask; } tcr_el[4];
    } cp15;
} CPUARMState;
#elif defined GUEST_PPC
typedef struct CPUArchState {
    uint64_t gpr[32];
    uint64_t lr, ctr;
    uint32_t crf[8];
    uint64_t xer, so, ov, ca;
    uint64_t nip, msr;
    uint64_t spr[1024];
} CPUPPCState;
#elif defined GUEST_S390
typedef struct CPUArchState {
    uint64_t regs[16];
    uint32_t aregs[16];
    struct PSW { uint64_t mask, addr; } psw;
} CPUS390XState;
#else
typedef struct SegmentCache { uint32_t selector; uint64_t base; uint32_t limit; uint32_t flags; } SegmentCache;
typedef struct CPUX86State {
    uint64_t regs[16];
    uint64_t eip;
    uint64_t eflags;
    SegmentCache segs[6];
    SegmentCache ldt, tr, gdt, idt;
    uint64_t cr[5];
    uint64_t efer;
#if QEMU < 106
    int cpu_index;
    struct CPUX86State *next_cpu;
#endif
} CPUX86State;
#define CPUArchState CPUX86State
#endif

#if QEMU < 106
CPUX86State *first_cpu;
#else
typedef struct CPUState {
    Object parent_obj;
    int cpu_index;
    struct { struct CPUState *tqe_next; struct CPUState **tqe_prev; } node;
} CPUState;
typedef struct ArchCPU { CPUState parent_obj; struct CPUArchState env; } ArchCPU;
#if defined GUEST_ARM
typedef ArchCPU ARMCPU;
#define CPU ARMCPU
#elif defined GUEST_PPC
typedef ArchCPU PowerPCCPU;
#define CPU PowerPCCPU
#elif defined GUEST_S390
typedef ArchCPU S390CPU;
#define CPU S390CPU
#else
typedef ArchCPU X86CPU;
#define CPU X86CPU
#endif
typedef struct CPUTailQ { CPUState *tqh_first; CPUState **tqh_last; } CPUTailQ;
#if QEMU >= 802
CPUTailQ cpus_queue;
#define CPUS cpus_queue
#else
CPUTailQ cpus;
#define CPUS cpus
#endif
#endif

#if QEMU >= 212
typedef struct VMCoreInfoState {
    Object parent_obj;
    bool has_vmcoreinfo;
    struct __attribute__((packed)) { uint16_t host_format, guest_format; uint32_t size; uint64_t paddr; } vmcoreinfo;
} VMCoreInfoState;

static void vmcoreinfo_realize(VMCoreInfoState *s)
{
    static VMCoreInfoState * volatile vmcoreinfo_state;
    vmcoreinfo_state = s;
}
#endif

#define PAGE 4096
#ifndef RAM_PAGES
#define RAM_PAGES 16
#endif

static void *zalloc(size_t size) { return calloc(1, size); }

/* Texts are on the heap: cores lack the program's own. */
static Object *typed(Object *object, const char *type)
{
    object->class = zalloc(sizeof *object->class);
    object->class->type = zalloc(sizeof *object->class->type);
    object->class->type->name = strdup(type);
    return object;
}

/* Anonymous memory, or of a file: FILE_BACKED names it, DELETED makes it one without a name. */
static uint8_t *map(size_t length)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
#if defined FILE_BACKED
    fd = open(FILE_BACKED, O_RDWR | O_CREAT, 0600);
#elif defined DELETED
    fd = memfd_create("ram", 0);
#endif
    if (fd >= 0) {
        flags = MAP_SHARED;
        if (ftruncate(fd, length)) abort();
    }
    return mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
}

typedef struct VirtIOMEM {
    Object parent_obj;
    int32_t bitmap_size;
    unsigned long *bitmap;
    uint64_t addr, block_size;
} VirtIOMEM;

static VirtIOMEM *virtio_mem(uint64_t addr, unsigned long low, unsigned long high)
{
    VirtIOMEM *device = zalloc(sizeof *device);
    typed(&device->parent_obj, "virtio-mem");
    device->bitmap_size = 70;
    device->bitmap = zalloc(16);
    device->bitmap[0] = low;
    device->bitmap[1] = high;
    device->addr = addr;
    device->block_size = PAGE;
    return device;
}

#if QEMU >= 1100
typedef struct RamDiscardSourceEntry RamDiscardSourceEntry;
struct RamDiscardSourceEntry {
    void *rds;
    struct { RamDiscardSourceEntry *le_next; RamDiscardSourceEntry **le_prev; } next;
};
typedef struct RamDiscardManager {
    Object parent;
    MemoryRegion *mr;
    struct { RamDiscardSourceEntry *lh_first; } source_list;
} RamDiscardManager;

static void add_source(RamDiscardManager *manager, void *source)
{
    RamDiscardSourceEntry *entry = zalloc(sizeof *entry);
    entry->rds = source;
    entry->next.le_next = manager->source_list.lh_first;
    manager->source_list.lh_first = entry;
}
#endif

#ifdef RAM_FILE
static void fill_from_file(uint8_t *ram, size_t length)
{
    static const uint8_t zeros[PAGE];
    uint8_t page[PAGE];
    int fd = open(RAM_FILE, O_RDONLY);
    if (fd < 0) abort();
    /* pages of zeros stay untouched: cores and this program are as small as the contents */
    for (size_t at = 0; at < length && read(fd, page, PAGE) == PAGE; at += PAGE)
        if (memcmp(page, zeros, PAGE)) memcpy(ram + at, page, PAGE);
    close(fd);
}
#endif

static RAMBlock *add_block(const char *id, ram_addr_t offset, size_t length, int seed)
{
    RAMBlock *block = zalloc(sizeof *block);
    block->host = strcmp(id, "pc.ram")
        ? mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        : map(length);
#ifdef HALF_FILLED
    if (length > (1 << 20)) length /= 2;
#endif
#ifdef RAM_FILE
    if (!strcmp(id, "pc.ram")) fill_from_file(block->host, length);
    else
#endif
    for (size_t i = 0; i < length; i += PAGE) memset(block->host + i, seed + (int)(i / PAGE), PAGE);
#ifdef HALF_FILLED
    if (length >= (1 << 20)) length *= 2;
#endif
    block->offset = offset;
    block->fd = -1;
    strcpy(block->idstr, id);
#if QEMU >= 203
    block->used_length = block->max_length = length;
#else
    block->length = length;
#endif
#if QEMU >= 208
    block->page_size = PAGE;
#endif
#if QEMU >= 1100
    block->guest_memfd_private = -1;
#elif QEMU >= 900
    block->guest_memfd = -1;
#endif
#if QEMU >= 104 && QEMU < 203
    block->next.tqe_next = ram_list.blocks.tqh_first;
    ram_list.blocks.tqh_first = block;
#else
    block->next.le_next = ram_list.blocks.lh_first;
    ram_list.blocks.lh_first = block;
#endif
    return block;
}

static MemoryRegion *region(const char *name, RAMBlock *block)
{
    MemoryRegion *mr = zalloc(sizeof *mr);
    mr->name = strdup(name);
    mr->ram = block != NULL;
    if (block) {
#if QEMU >= 206
        mr->ram_block = block;
#else
        mr->ram_addr = block->offset;
#endif
    }
    return mr;
}

static FlatView *view;

static FlatRange *add_range(MemoryRegion *mr, uint64_t start, uint64_t size, uint64_t offset)
{
    FlatRange *range = &view->ranges[view->nr++];
    range->mr = mr;
    range->addr.start = int128(start);
    range->addr.size = int128(size);
    range->offset_in_region = offset;
    return range;
}

#if defined GUEST_ARM
static void fill_cpu(CPUARMState *env, int index)
{
    for (int i = 0; i < 16; i++) env->regs[i] = 0x1000 * (index + 1) + i;
    env->uncached_cpsr = 0x13;
    env->NF = env->VF = 0x80000000;
    env->CF = env->QF = 1;
    env->GE = 5;
    env->condexec_bits = 0xa6;
    env->thumb = true;
    env->daif = 0x3c0;
#ifndef NEVER_WIDE
    for (int i = 0; i < 32; i++) env->xregs[i] = 0x100000000 * (index + 1) + i;
    env->aarch64 = true;
    env->pc = 0xffff800008000000;
    env->pstate = 5;
    env->cp15.ttbr1_el[1] = 0x41000000;
#endif
#ifdef NARROW_NOW
    env->aarch64 = false;
#endif
#ifdef BIG_ENDIAN_GUEST
    env->cp15.sctlr_el[1] = 1 << 25;
#endif
}
#elif defined GUEST_PPC
static void fill_cpu(CPUPPCState *env, int index)
{
    for (int i = 0; i < 32; i++) env->gpr[i] = 0xc000000000000000 + 0x1000 * (index + 1) + i;
    env->nip = 0xc000000000001234;
    env->msr = 0x8000000000001033;
    env->lr = 0xa;
    env->ctr = 0xb;
    for (int i = 0; i < 8; i++) env->crf[i] = i;
    env->xer = 0x7f;
    env->so = env->ca = 1;
    env->spr[19] = 0xdeadbeef;
#ifndef BIG_ENDIAN_GUEST
    env->spr[0x13e] = 0x02000000;
#endif
}
#elif defined GUEST_S390
static void fill_cpu(CPUS390XState *env, int index)
{
    for (int i = 0; i < 16; i++) env->regs[i] = 0x1000 * (index + 1) + i;
    for (int i = 0; i < 16; i++) env->aregs[i] = i;
    env->psw.mask = 0x0705c00180000000;
    env->psw.addr = 0x100000;
}
#else
static void fill_cpu(CPUX86State *env, int index)
{
    for (int i = 0; i < 16; i++) env->regs[i] = 0x1000 * (index + 1) + i;
    env->eip = 0xffffffff81000000 + index;
    env->eflags = 2;
    for (int i = 0; i < 6; i++) env->segs[i] = (SegmentCache){ 8 * (i + 1), 0x100 * i, 0xffff, 0x9300 };
    env->gdt = (SegmentCache){ 0, 0xfffffe0000001000, 127, 0 };
    env->idt = (SegmentCache){ 0, 0xfffffe0000000000, 4095, 0 };
    env->cr[0] = 0x80050033;
    env->cr[3] = 0x1000;
    env->cr[4] = 0x6f0;
    env->efer = 0xd01;
}
#endif

int main(void)
{
    const size_t ram_size = (size_t)RAM_PAGES * PAGE;
    RAMBlock *ram = add_block("pc.ram", 0, ram_size, 1);
    RAMBlock *rom = add_block("pc.bios", ram_size, 4 * PAGE, 0x80);
    RAMBlock *vfio = add_block("vfio", ram_size + 16 * PAGE, PAGE, 0xc0);
    MemoryRegion *ram_mr = region("pc.ram", ram), *rom_mr = region("pc.bios", rom);
    MemoryRegion *alias = region("bios alias", rom);
    alias->alias = rom_mr;
    alias->alias_offset = PAGE;
    MemoryRegion *device = region("vfio", vfio);
    rom_mr->readonly = alias->readonly = true;
    HostMemoryBackend *backend = zalloc(sizeof *backend);
    ram_mr->owner = typed(&backend->parent_obj, "memory-backend-ram");
    backend->dump = true;
    current_machine = zalloc(sizeof *current_machine);
    typed(&current_machine->parent_obj, "mimic-machine");
    current_machine->dump_guest_core = true;
    current_machine->ram_size = ram_size;
#ifdef BACKEND_DUMP_OFF
    backend->dump = false;
    madvise(ram->host, ram_size, MADV_DONTDUMP);
#endif
#ifdef GUEST_CORE_OFF
    current_machine->dump_guest_core = false;
    madvise(ram->host, ram_size, MADV_DONTDUMP);
#endif
#ifdef GUEST_MEMFD
#if QEMU >= 1100
    ram->guest_memfd_private = 7;
#else
    ram->guest_memfd = 7;
#endif
#endif
#ifdef FILTER
    FILE *filter = fopen("/proc/self/coredump_filter", "w");
    fprintf(filter, "%d\n", FILTER);
    fclose(filter);
#endif

#if QEMU >= 103
    view = zalloc(sizeof *view);
    address_space_memory.current_map = view;
    address_space_memory.name = strdup("memory");
#else
    view = &address_space_memory.current_map;
#endif
    view->ranges = zalloc(16 * sizeof(FlatRange));
    add_range(ram_mr, 0, ram_size / 2, 0);
    add_range(ram_mr, ram_size / 2, ram_size / 2, ram_size / 2);
    add_range(region("apic", NULL), 0xfee00000, PAGE, 0);
#if QEMU >= 202
#if QEMU >= 208
    device->ram_device = true;
#else
    device->skip_dump = true;
#endif
    add_range(device, 0xff000000, PAGE, 0);
#endif
#if QEMU >= 301
    device->ram_device = true;
    MemoryRegion *pmem = region("cxl", vfio);
    pmem->nonvolatile = true;
    add_range(pmem, 0xff100000, PAGE, 0)->nonvolatile = true;
    add_range(ram_mr, 0xff200000, PAGE, 0)->nonvolatile = true;
#endif
    add_range(alias, 0xffffd000, 3 * PAGE, 0)->readonly = true;
    add_range(rom_mr, 0x100000000, 4 * PAGE, 0)->readonly = true;
#ifdef VIRTIO_MEM
    /* 70 units of a page each; units 1, 2 and 65 are plugged. With two sources the second lacks unit 2. */
    RAMBlock *plug = add_block("0000:00:03.0/plug", ram_size + 32 * PAGE, 70 * PAGE, 0x10);
    MemoryRegion *plug_mr = region("plug", plug);
    add_range(plug_mr, 0x200000000, 70 * PAGE, 0);
    VirtIOMEM *first = virtio_mem(0x200000000, (1UL << 1) | (1UL << 2), 1UL << 1);
#if QEMU >= 1100
    RamDiscardManager *manager = zalloc(sizeof *manager);
    typed(&manager->parent, "ram-discard-manager");
    add_source(manager, first);
#if VIRTIO_MEM > 1
    add_source(manager, virtio_mem(0x200000000, 1UL << 1, 1UL << 1));
#endif
#ifdef LOOP_SOURCES
    manager->source_list.lh_first->next.le_next = manager->source_list.lh_first;
#endif
    plug_mr->rdm = manager;
#else
    plug_mr->rdm = first;
#endif
#endif

    static struct CPUArchState *envs[2];
#if QEMU < 106
    for (int i = 1; i >= 0; i--) {
        envs[i] = zalloc(sizeof(CPUX86State));
        envs[i]->cpu_index = i;
        envs[i]->next_cpu = first_cpu;
        first_cpu = envs[i];
        fill_cpu(envs[i], i);
    }
#else
    for (int i = 1; i >= 0; i--) {
        CPU *cpu = zalloc(sizeof *cpu);
        envs[i] = &cpu->env;
        cpu->parent_obj.cpu_index = i;
        cpu->parent_obj.node.tqe_next = CPUS.tqh_first;
        CPUS.tqh_first = &cpu->parent_obj;
        fill_cpu(&cpu->env, i);
    }
#endif

#if QEMU >= 212 && !defined RAM_FILE
    static const char text[] = "OSRELEASE=6.1.0-mimic\nPAGESIZE=4096\n";
    uint32_t header[3] = { 11, sizeof text - 1, 0 };
#ifdef BIG_ENDIAN_GUEST
    for (int i = 0; i < 3; i++) header[i] = __builtin_bswap32(header[i]);
#endif
    uint8_t *note = ram->host + 3 * PAGE + 64;
    memset(note, 0, 256);
    memcpy(note, header, 12);
    memcpy(note + 12, "VMCOREINFO", 11);
    memcpy(note + 24, text, sizeof text - 1);
    VMCoreInfoState *state = zalloc(sizeof *state);
    state->has_vmcoreinfo = true;
    state->vmcoreinfo.guest_format = 1;
    state->vmcoreinfo.size = 256;
    state->vmcoreinfo.paddr = 3 * PAGE + 64;
    vmcoreinfo_realize(state);
#endif

#ifdef LOOP_BLOCKS
#if QEMU >= 104 && QEMU < 203
    vfio->next.tqe_next->next.tqe_next->next.tqe_next = vfio;
#else
    vfio->next.le_next->next.le_next->next.le_next = vfio;
#endif
#endif
#ifdef LOOP_ALIAS
    rom_mr->alias = alias;
#endif
#ifdef BAD_POINTER
    view->ranges[1].mr = (MemoryRegion *)0x1234;
#endif
#ifdef NO_VIEW
    address_space_memory.current_map = NULL;
#endif
#ifdef MANY_RANGES
    view->nr = 0xffffffff;
#endif
#ifdef LONG_RANGE
    view->ranges[1].addr.size = int128(1ULL << 40);
#endif
#ifdef HUGE_ADDRESS
    view->ranges[0].addr.start = ~(Int128)0;
#endif
#ifdef BACKWARDS
    view->ranges[1].addr.start = int128(0);
#endif
#ifdef WILD_BLOCK
    ram_mr->ram_block = (RAMBlock *)0x7000;
#endif
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
