/*
 * The program that gives a test guest something to find: threads in known waits, sockets of every kind, and tasks that
 * are stuck inside kernel modules (a FUSE file system and a network block device whose servers never answer, a tun device
 * nobody sends to). Linked statically, so that the guest needs no libc.
 *
 *   guestwork threads        three threads (futex, nanosleep, poll), sockets, memory with a known text
 *   guestwork fuse DIR       mounts a FUSE file system on DIR and answers nothing but INIT
 *   guestwork nbd DEVICE     connects DEVICE to a socket whose other end is never read
 *   guestwork tun            makes tun0 and reads from it
 *   guestwork spin           never leaves user space
 *   guestwork stat|read PATH touches PATH (used to get stuck in it)
 *   guestwork fill MIB       holds MIB of anonymous memory, each page with its own text
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/nbd.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "guestwork: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listen_tcp4(uint16_t port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 7))
		fail("tcp4");
	return fd;
}

static int listen_tcp6(uint16_t port)
{
	int one = 1, fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 9))
		fail("tcp6");
	return fd;
}

static int connect_tcp4(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	if (connect(fd, (struct sockaddr *)&to, sizeof to))
		fail("connect");
	return fd;
}

static void bind_udp(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	if (bind(fd, (struct sockaddr *)&at, sizeof at))
		fail("udp4");
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 at6 = { .sin6_family = AF_INET6, .sin6_port = htons(port + 1), .sin6_addr = in6addr_loopback };
	if (bind(fd, (struct sockaddr *)&at6, sizeof at6))
		fail("udp6");
}

static void bind_unix(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/run/guestwork.sock" };
	if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 5))
		fail("unix stream");
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct sockaddr_un abstract = { .sun_family = AF_UNIX, .sun_path = "\0guestwork-abstract" };
	if (bind(fd, (struct sockaddr *)&abstract, offsetof(struct sockaddr_un, sun_path) + 19))
		fail("unix abstract");
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct sockaddr_un packets = { .sun_family = AF_UNIX, .sun_path = "/run/guestwork.seq" };
	if (bind(fd, (struct sockaddr *)&packets, sizeof packets) || listen(fd, 3))
		fail("unix seqpacket");
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

static uint32_t never;

static void *wait_on_futex(void *unused)
{
	prctl(PR_SET_NAME, "gw-futex");
	for (;;)
		syscall(SYS_futex, &never, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
	return unused;
}

static void *sleep_long(void *unused)
{
	prctl(PR_SET_NAME, "gw-sleep");
	struct timespec t = { .tv_sec = 1000000 };
	for (;;)
		nanosleep(&t, NULL);
	return unused;
}

static void threads(void)
{
	pthread_t a, b;
	int server = listen_tcp4(8080), client, pipes[2];
	struct epoll_event event = { .events = EPOLLIN };
	char *text = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int page = 0; page < 256; page++)
		snprintf(text + page * 4096, 4096, "guestwork private page %d", page);
	strcpy(shared, "guestwork shared page");
	listen_tcp6(8081);
	bind_udp(5353);
	bind_unix();
	client = connect_tcp4(8080);
	connect_tcp4(8080); /* stays in the backlog: never accepted */
	int accepted = accept(server, NULL, NULL);
	if (write(client, "unread words", 12) != 12 || pipe(pipes) || write(pipes[1], "in the pipe", 11) != 11)
		fail("write");
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	bind(netlink, (struct sockaddr *)&kernel, sizeof kernel);
	socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	eventfd(3, 0);
	timerfd_create(CLOCK_MONOTONIC, 0);
	int file = open("/mnt/ext4/held-open.txt", O_RDWR | O_CREAT, 0644);
	if (file >= 0 && write(file, "held open\n", 10) != 10)
		fail("file");
	int deleted = open("/tmp/deleted-but-open", O_RDWR | O_CREAT, 0600);
	if (deleted >= 0 && write(deleted, "deleted\n", 8) != 8)
		fail("deleted");
	unlink("/tmp/deleted-but-open");
	int epoll = epoll_create1(0);
	event.data.fd = accepted;
	epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
	pthread_create(&a, NULL, wait_on_futex, NULL);
	pthread_create(&b, NULL, sleep_long, NULL);
	struct pollfd forever = { .fd = netlink, .events = 0 };
	for (;;)
		poll(&forever, 1, -1);
}

static void fuse(const char *dir)
{
	static char buffer[1 << 18];
	char options[128];
	int fd = open("/dev/fuse", O_RDWR);
	if (fd < 0)
		fail("/dev/fuse");
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("guestwork", dir, "fuse", 0, options))
		fail("mount fuse");
	for (;;) {
		ssize_t n = read(fd, buffer, sizeof buffer);
		struct fuse_in_header *in = (struct fuse_in_header *)buffer;
		if (n < (ssize_t)sizeof *in)
			fail("fuse read");
		if (in->opcode == FUSE_INIT) {
			struct {
				struct fuse_out_header head;
				struct fuse_init_out init;
			} out = { { sizeof out, 0, in->unique }, { .major = 7, .minor = 31, .max_write = 4096 } };
			if (write(fd, &out, sizeof out) < 0)
				fail("fuse init");
		} /* everything else stays without an answer */
	}
}

static void nbd(const char *device)
{
	int pair[2], fd = open(device, O_RDWR);
	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		fail(device);
	if (ioctl(fd, NBD_SET_BLKSIZE, 4096ul) || ioctl(fd, NBD_SET_SIZE_BLOCKS, 256ul) || ioctl(fd, NBD_SET_SOCK, pair[0]))
		fail("nbd");
	ioctl(fd, NBD_DO_IT);
	fail("NBD_DO_IT");
}

static void tun(void)
{
	static char packet[2048];
	int fd = open("/dev/net/tun", O_RDWR);
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	strcpy(request.ifr_name, "tun0");
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
		fail("tun");
	if (setgid(1000) || setuid(1001))
		fail("setuid");
	while (read(fd, packet, sizeof packet) >= 0)
		;
}

static void touch(const char *path, int whole)
{
	static char buffer[4096] __attribute__((aligned(4096)));
	struct stat s;
	int fd;
	if (!whole) {
		stat(path, &s);
		return;
	}
	fd = open(path, O_RDONLY);
	while (fd >= 0 && read(fd, buffer, sizeof buffer) > 0)
		;
}

static void fill(long mib)
{
	long pages = mib << 8;
	char *area = mmap(NULL, (size_t)mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		fail("mmap");
	for (long page = 0; page < pages; page++) {
		char word[40];
		int length = snprintf(word, sizeof word, "fill page %08ld of %08ld. ", page, pages);
		for (int at = 0; at + length <= 4096; at += length)
			memcpy(area + page * 4096 + at, word, length);
	}
	printf("guestwork: filled %ld pages at %p\n", pages, (void *)area);
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";
	if (!strcmp(what, "threads"))
		threads();
	else if (!strcmp(what, "fuse"))
		fuse(arg);
	else if (!strcmp(what, "nbd"))
		nbd(arg);
	else if (!strcmp(what, "tun"))
		tun();
	else if (!strcmp(what, "stat") || !strcmp(what, "read"))
		touch(arg, what[0] == 'r');
	else if (!strcmp(what, "fill"))
		fill(atol(arg));
	else if (!strcmp(what, "spin"))
		for (volatile uint64_t n = 0;; n++)
			;
	else
		return fprintf(stderr, "guestwork: what?\n"), 2;
	return 0;
}
