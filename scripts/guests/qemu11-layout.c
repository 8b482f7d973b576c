/*
 * Structures of QEMU 11.1.3 as Debian sid built it (qemu-system-x86 1:11.1.3+ds-1, amd64, build id
 * 19082c1198d23ae45c6960a77fdc889301dfb4de): members that a core reader needs, at the offsets measured in live processes.
 * Debian keeps its debug symbols apart. What lies between is padding. See make-qemu11-layout.sh.
 */
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
typedef uint64_t hwaddr;
typedef uint64_t ram_addr_t;
typedef uint64_t target_ulong;
typedef __int128_t Int128;
#define PAD(from, to) char pad_##from[(to) - (from)]

typedef struct TypeImpl *Type;
typedef struct ObjectClass ObjectClass;
typedef struct Object Object;
struct TypeImpl { const char *name; PAD(8, 376); };
struct ObjectClass { Type type; PAD(8, 96); };
struct Object { ObjectClass *class; void *free; void *properties; uint32_t ref; Object *parent; };

typedef struct RAMBlock RAMBlock;
typedef struct MemoryRegion MemoryRegion;
typedef struct RamDiscardManager RamDiscardManager;
typedef struct RamDiscardSource RamDiscardSource;
struct MemoryRegion {
	Object parent_obj;
	_Bool romd_mode, ram, subpage, readonly, nonvolatile, rom_device, flush_coalesced_mmio, unmergeable;
	uint8_t dirty_log_mask;
	_Bool is_iommu;
	RAMBlock *ram_block;
	Object *owner;
	PAD(72, 96);
	MemoryRegion *container;
	int mapped_via_alias;
	Int128 size;
	hwaddr addr;
	void *destructor;
	uint64_t align;
	_Bool terminates, ram_device, enabled;
	uint8_t vga_logging_count;
	MemoryRegion *alias;
	hwaddr alias_offset;
	int32_t priority;
	PAD(180, 232);
	const char *name;
	unsigned int ioeventfd_nb;
	void *ioeventfds;
	RamDiscardManager *rdm;
};
struct RAMBlock {
	PAD(0, 16);
	MemoryRegion *mr;
	uint8_t *host;
	uint8_t *colo_cache;
	ram_addr_t offset, used_length, max_length;
	PAD(64, 72);
	uint32_t flags;
	char idstr[256];
	struct { RAMBlock *le_next; RAMBlock **le_prev; } next;
	PAD(352, 368);
	int fd;
	uint64_t fd_offset;
	int guest_memfd_private;
	void *attributes;
	size_t page_size;
};
typedef struct RAMList {
	PAD(0, 48);
	RAMBlock *mru_block;
	struct { RAMBlock *lh_first; } blocks;
	PAD(64, 92);
	uint32_t version;
	PAD(96, 104);
} RAMList;

typedef struct AddrRange { Int128 start, size; } AddrRange;
typedef struct FlatRange FlatRange;
typedef struct FlatView FlatView;
struct FlatRange {
	MemoryRegion *mr;
	hwaddr offset_in_region;
	AddrRange addr;
	uint8_t dirty_log_mask;
	_Bool romd_mode, readonly, nonvolatile, unmergeable;
};
struct FlatView {
	PAD(0, 16);
	unsigned int ref;
	FlatRange *ranges;
	unsigned int nr, nr_allocated;
	void *dispatch;
	MemoryRegion *root;
};
typedef struct AddressSpace {
	PAD(0, 16);
	char *name;
	MemoryRegion *root;
	struct FlatView *current_map;
	PAD(40, 160);
} AddressSpace;

typedef struct RamDiscardSourceEntry RamDiscardSourceEntry;
struct RamDiscardSourceEntry {
	RamDiscardSource *rds;
	struct { RamDiscardSourceEntry *le_next; RamDiscardSourceEntry **le_prev; } next;
};
struct RamDiscardManager {
	Object parent;
	MemoryRegion *mr;
	struct { RamDiscardSourceEntry *lh_first; } source_list;
	uint64_t min_granularity;
	struct { void *lh_first; } rdl_list;
};
typedef struct HostMemoryBackend {
	Object parent;
	uint64_t size;
	_Bool merge, dump, use_canonical_path, prealloc, is_mapped, share, reserve, guest_memfd, aligned;
} HostMemoryBackend;
typedef struct VirtIOMEM {
	Object parent_obj;
	PAD(40, 560);
	int32_t bitmap_size;
	unsigned long *bitmap;
	PAD(576, 608);
	HostMemoryBackend *memdev;
	uint32_t node;
	uint64_t addr, usable_region_size, size, requested_size, block_size;
} VirtIOMEM;

typedef struct MachineState {
	Object parent_obj;
	PAD(40, 80);
	_Bool dump_guest_core, mem_merge, usb, usb_disabled;
	PAD(84, 112);
	HostMemoryBackend *memdev;
	_Bool aux_ram_share;
	MemoryRegion *ram;
	PAD(136, 152);
	ram_addr_t ram_size, maxram_size;
	uint64_t ram_slots;
	PAD(176, 288);
	Object *accelerator;
	PAD(296, 392);
} MachineState;

typedef struct CPUState CPUState;
struct CPUState {
	Object parent_obj;
	PAD(40, 552);
	union { CPUState *tqe_next; char circ[16]; } node;
	PAD(568, 688);
	int cpu_index;
	PAD(692, 16496);
};
typedef struct SegmentCache { uint32_t selector; target_ulong base; uint32_t limit, flags; } SegmentCache;
typedef struct CPUArchState {
	target_ulong regs[32]; /* 16 more than QEMU 10 had */
	target_ulong eip, eflags;
	PAD(272, 304);
	uint32_t hflags, hflags2;
	SegmentCache segs[6], ldt, tr, gdt, idt;
	target_ulong cr[5];
	PAD(592, 728);
	uint64_t efer;
	PAD(736, 11400);
	uint32_t sysenter_cs;
	target_ulong sysenter_esp, sysenter_eip;
	uint64_t star, vm_hsave;
	target_ulong lstar, cstar, fmask, kernelgsbase;
	PAD(11472, 11624);
	uint64_t tsc_aux;
	PAD(11632, 12040);
	uint64_t pat;
	PAD(12048, 13456);
	target_ulong dr[8];
} CPUX86State;
typedef struct ArchCPU { CPUState parent_obj; CPUX86State env; } X86CPU;

typedef struct FWCfgVMCoreInfo { uint16_t host_format, guest_format; uint32_t size; uint64_t paddr; } FWCfgVMCoreInfo;
typedef struct VMCoreInfoState { Object parent_obj; PAD(40, 152); _Bool has_vmcoreinfo; FWCfgVMCoreInfo vmcoreinfo; } VMCoreInfoState;

#define AT(section_name) __attribute__((section(section_name), used))
union CPUTailQ { CPUState *tqh_first; char circ[16]; };
AT(".at.cpus_queue") union CPUTailQ cpus_queue = { 0 };
AT(".at.current_machine") MachineState *current_machine = 0;
AT(".at.address_space_memory") AddressSpace address_space_memory = { { 0 } };
AT(".at.ram_list") RAMList ram_list = { { 0 } };
AT(".at.tcg_allowed") _Bool tcg_allowed = 0;
AT(".at.kvm_allowed") _Bool kvm_allowed = 0;
VirtIOMEM *keep_virtio_mem(X86CPU *a, RamDiscardSourceEntry *b) { (void)a; (void)b; return 0; }
void vmcoreinfo_realize(void)
{
	static AT(".at.vmcoreinfo_state") VMCoreInfoState *vmcoreinfo_state = 0;
	(void)vmcoreinfo_state;
}
#define CHECK(type, member, at) _Static_assert(__builtin_offsetof(type, member) == (at), #type "." #member)
CHECK(MemoryRegion, ram_block, 56); CHECK(MemoryRegion, size, 112); CHECK(MemoryRegion, align, 144); CHECK(MemoryRegion, ram_device, 153);
CHECK(MemoryRegion, alias, 160); CHECK(MemoryRegion, priority, 176); CHECK(MemoryRegion, name, 232); CHECK(MemoryRegion, rdm, 256);
CHECK(RAMBlock, offset, 40); CHECK(RAMBlock, flags, 72); CHECK(RAMBlock, idstr, 76); CHECK(RAMBlock, next, 336); CHECK(RAMBlock, fd, 368);
CHECK(RAMBlock, guest_memfd_private, 384); CHECK(RAMBlock, attributes, 392); CHECK(RAMBlock, page_size, 400);
CHECK(RAMList, blocks, 56); CHECK(FlatRange, addr, 16); CHECK(FlatRange, readonly, 50); CHECK(FlatView, ranges, 24); CHECK(FlatView, nr, 32);
CHECK(AddressSpace, current_map, 32); CHECK(RamDiscardManager, source_list, 48); CHECK(RamDiscardManager, rdl_list, 64);
CHECK(VirtIOMEM, bitmap, 568); CHECK(VirtIOMEM, memdev, 608); CHECK(VirtIOMEM, addr, 624); CHECK(VirtIOMEM, block_size, 656);
CHECK(MachineState, memdev, 112); CHECK(MachineState, ram_size, 152); CHECK(MachineState, accelerator, 288);
CHECK(CPUState, node, 552); CHECK(CPUState, cpu_index, 688); CHECK(X86CPU, env, 16496); CHECK(CPUX86State, eip, 256); CHECK(CPUX86State, segs, 312);
CHECK(CPUX86State, cr, 552); CHECK(CPUX86State, efer, 728); CHECK(CPUX86State, star, 11424); CHECK(CPUX86State, kernelgsbase, 11464);
CHECK(CPUX86State, tsc_aux, 11624); CHECK(CPUX86State, pat, 12040); CHECK(CPUX86State, dr, 13456); CHECK(VMCoreInfoState, vmcoreinfo, 160);
_Static_assert(sizeof(FlatRange) == 64 && sizeof(AddressSpace) == 160 && sizeof(RAMList) == 104, "sizes of the program's symbols");
