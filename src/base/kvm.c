/* SPDX-License-Identifier: MIT */
/*
 * How it works: a child makes a VM of one page of code in 64-bit mode, ring 0, paging on, and runs it to its `out`. The
 * parent waits on a pipe with a deadline and kills it. A software KVM fails at int3 or paddd within some ms, or crawls
 * through the loop; hardware is done in 3 ms.
 */
#include "base/kvm.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/giveup.h"
#include "base/scoped.h"

#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	DEADLINE_MS = 100,
	TRANSLATED_DEADLINE_MS = 15000, /* 0.5 s as a rule; more than 3 s on a starved host */
	MEMORY = 2 << 20,
	PML4 = 0x1000,
	PDPT = 0x2000,
	PD = 0x3000,
	IDT = 0x4000,
	GDT = 0x5000,
	CODE = 0x6000,
	HANDLER = 0x6100, /* of int3 */
	STACK = 0x9000,
	PORT = 0x10,
	ANSWER = 0x42,
	/* control bits */
	CR0_PE_MP_NE_PG = 1 | 1 << 1 | 1 << 5 | (int)(1U << 31),
	CR4_PAE_OSFXSR = 1 << 5 | 1 << 9 | 1 << 10,
	EFER_LME_LMA = 1 << 8 | 1 << 10
};

/* int3; paddd; a million rounds with memory; cpuid; a reload of CR3; out; hlt. ebx counts what worked. */
static const uint8_t code[] = {
	0x31, 0xdb,                               /* xor ebx, ebx */
	0xcc,                                     /* int3: the handler adds 0x41 to ebx */
	0x66, 0x0f, 0xfe, 0xc1,                   /* paddd xmm0, xmm1 */
	0xb9, 0x40, 0x42, 0x0f, 0x00,             /* mov ecx, 1000000 */
	0xff, 0x04, 0x25, 0x00, 0x80, 0x00, 0x00, /* again: inc dword [0x8000] */
	0xff, 0xc9,                               /* dec ecx */
	0x75, 0xf5,                               /* jnz again */
	0x89, 0xde,                               /* mov esi, ebx (cpuid writes ebx) */
	0x31, 0xc0,                               /* xor eax, eax */
	0x0f, 0xa2,                               /* cpuid */
	0x0f, 0x20, 0xd8,                         /* mov rax, cr3 */
	0x0f, 0x22, 0xd8,                         /* mov cr3, rax */
	0x8d, 0x46, 0x01,                         /* lea eax, [rsi + 1] */
	0xe6, PORT,                               /* out PORT, al */
	0xf4,                                     /* hlt */
};
static const uint8_t handler[] = {
	0x83, 0xc3, 0x41, /* add ebx, 0x41 */
	0x48, 0xcf,       /* iretq */
};

static void put64(uint8_t *memory, size_t at, uint64_t value)
{
	memcpy(memory + at, &value, sizeof(value));
}

static void fill(uint8_t *memory)
{
	put64(memory, PML4, PDPT | 3);
	put64(memory, PDPT, PD | 3);
	put64(memory, PD, 0x83); /* one page of 2 MiB, as it is */
	put64(memory, GDT + 8, 0x00af9b000000ffff);
	put64(memory, GDT + 16, 0x00cf93000000ffff);
	/* gate 3: offset, selector 8, present 64-bit interrupt gate */
	put64(memory, IDT + 3 * 16, (uint64_t)HANDLER | 8ULL << 16 | 0x8e00ULL << 32);
	memcpy(memory + CODE, code, sizeof(code));
	memcpy(memory + HANDLER, handler, sizeof(handler));
}

static int set_registers(int vcpu)
{
	const struct kvm_segment cs = {.limit = 0xffffffff,
				       .selector = 8,
				       .type = 11,
				       .present = 1,
				       .s = 1,
				       .l = 1,
				       .g = 1};
	struct kvm_segment ds = {.limit = 0xffffffff,
				 .selector = 16,
				 .type = 3,
				 .present = 1,
				 .s = 1,
				 .db = 1,
				 .g = 1};
	const struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.gdt = (struct kvm_dtable){.base = GDT, .limit = 23};
	s.idt = (struct kvm_dtable){.base = IDT, .limit = 4 * 16 - 1};
	s.cr3 = PML4;
	s.cr4 = CR4_PAE_OSFXSR;
	s.cr0 = (uint32_t)CR0_PE_MP_NE_PG;
	s.efer = EFER_LME_LMA;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

/* The guest sees the host's own cpuid; without it, long mode is refused. */
static int set_cpuid(int kvm, int vcpu)
{
	enum { ENTRIES = 128 };
	scoped(mem) struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = ENTRIES;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
		return -errno;
	return 0;
}

/* In the child: descriptors and memory end with it. */
static bool run_guest(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	uint8_t *memory =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
						     .userspace_addr = (uintptr_t)memory};
	struct kvm_run *run;
	int r;

	if (vcpu < 0 || size <= 0 || memory == MAP_FAILED)
		return false;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return false;
	fill(memory);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 || set_cpuid(kvm, vcpu) < 0 ||
	    set_registers(vcpu) < 0)
		return false;
	do
		r = ioctl(vcpu, KVM_RUN, 0);
	while (r < 0 && errno == EINTR);
	return r == 0 && run->exit_reason == KVM_EXIT_IO && run->io.port == PORT &&
	       ((uint8_t *)run)[run->io.data_offset] == ANSWER;
}

static int deadline_ms(void)
{
	unsigned eax = 0;
	unsigned regs[3] = {0};

	__cpuid(0x40000000, eax, regs[0], regs[1], regs[2]);
	return memcmp(regs, "TCGTCGTCGTCG", sizeof(regs)) == 0 ? TRANSLATED_DEADLINE_MS
							       : DEADLINE_MS;
}

/* The answer may lie in the pipe for long before it is read, so that whether it came in time is told here. */
static void child(int fd, int64_t end_ms)
{
	char yes = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (run_guest() && clock_ms() <= end_ms && write(fd, &yes, 1) == 1)
		_exit(0);
	_exit(1);
}

static void answered(struct kvm_probe *p, bool usable)
{
	p->state = KVM_ANSWERED;
	p->usable = usable;
}

void kvm_probe_begin(struct kvm_probe *p)
{
	int fds[2];

	if (p->state != KVM_UNASKED)
		return;
	if (access("/dev/kvm", R_OK | W_OK) < 0 || pipe2(fds, O_CLOEXEC) < 0) {
		answered(p, false);
		return;
	}
	p->began_ms = clock_ms();
	p->pid = fork();
	if (p->pid == 0)
		child(fds[1], p->began_ms + deadline_ms());
	close(fds[1]);
	p->fd = fds[0];
	if (p->pid > 0) {
		p->state = KVM_ASKED;
		return;
	}
	close(fds[0]);
	answered(p, false);
}

void kvm_probe_done(struct kvm_probe *p)
{
	if (p->state != KVM_ASKED)
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close(p->fd);
	answered(p, false);
}

bool kvm_probe_answer(struct kvm_probe *p)
{
	int64_t left;
	char yes = 0;

	kvm_probe_begin(p);
	if (p->state == KVM_ANSWERED)
		return p->usable;
	left = p->began_ms + deadline_ms() - clock_ms();
	if (giveup_wait(NULL, p->fd, POLLIN, left > 0 ? left : 0, NULL) != 1 ||
	    read(p->fd, &yes, 1) != 1)
		yes = 0;
	kvm_probe_done(p);
	answered(p, yes == 1);
	return p->usable;
}
#else
void kvm_probe_begin(struct kvm_probe *p)
{
	*p = (struct kvm_probe){.state = KVM_ANSWERED};
}

void kvm_probe_done(struct kvm_probe *p) {}

bool kvm_probe_answer(struct kvm_probe *p)
{
	return false;
}
#endif

bool kvm_is_usable(void)
{
	struct kvm_probe p = {0};

	return kvm_probe_answer(&p);
}

int accel_wanted(enum accel *ret, struct err *e)
{
	const char *text = getenv("DROVER_ACCEL");

	if (!text || !*text || strcmp(text, "auto") == 0)
		*ret = ACCEL_AUTO;
	else if (strcmp(text, "kvm") == 0)
		*ret = ACCEL_KVM;
	else if (strcmp(text, "tcg") == 0)
		*ret = ACCEL_TCG;
	else
		return err_set(e, ERR_INVALID, "DROVER_ACCEL: '%s' is none of auto, kvm, tcg",
			       text);
	return 0;
}

bool accel_is_kvm(enum accel a)
{
	return a == ACCEL_KVM || (a == ACCEL_AUTO && kvm_is_usable());
}
