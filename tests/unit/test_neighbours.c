/* SPDX-License-Identifier: MIT */
/* What a bridge hears, and what the kernel is told, on a host of its own: a tap is the guest's card, and the test its guest. */
#include "host.h"

#include "base/err.h"
#include "base/scoped.h"
#include "network/links.h"
#include "network/neighbours.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GUEST_IP  "10.83.7.2"
#define GUEST_MAC "02:00:00:00:00:07"

enum { PATIENCE_MS = 4000, MOMENT_MS = 100, VNET_HEADER = 10, FRAME = 60 };

static const unsigned char guest_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 7};

static int make(int *ret_tap)
{
	char ifname[IF_NAMESIZE];
	struct err e = ERR_INIT;

	NEED(links_bridge_make("br7", "10.83.7.1", &e) == 0);
	NEED(links_bridge_make("br8", "10.83.8.1", &e) == 0);
	NEED(links_tap_make("br7", "t7%d", ret_tap, ifname, &e) == 0);
	return 0;
}

/* A frame to everybody, of a protocol that is nobody's. */
static bool send_frame(int tap)
{
	unsigned char data[VNET_HEADER + FRAME] = {0};
	struct ether_header *frame = (struct ether_header *)(data + VNET_HEADER);

	memset(frame->ether_dhost, 0xff, ETH_ALEN);
	memcpy(frame->ether_shost, guest_mac, ETH_ALEN);
	frame->ether_type = htons(0x88b5);
	return write(tap, data, sizeof(data)) == (ssize_t)sizeof(data);
}

static int body_heard(void)
{
	scoped(fd) int ears = neighbours_listen();
	scoped(fd) int others = neighbours_listen();
	scoped(fd) int elsewhere = neighbours_listen();
	scoped(fd) int tap = -1;
	struct pollfd p = {.fd = ears, .events = POLLIN};
	bool heard = false;

	NEED(ears >= 0 && others >= 0 && elsewhere >= 0);
	NEED(make(&tap) == 0);
	NEED(!neighbours_have_heard(ears, if_nametoindex("br7"), GUEST_MAC));
	NEED(send_frame(tap));
	while (!heard && poll(&p, 1, PATIENCE_MS) > 0)
		heard = neighbours_have_heard(ears, if_nametoindex("br7"), GUEST_MAC);
	NEED(heard);
	NEED(!neighbours_have_heard(others, if_nametoindex("br7"), "02:00:00:00:00:08"));
	NEED(!neighbours_have_heard(elsewhere, if_nametoindex("br8"), GUEST_MAC));
	NEED(!neighbours_have_heard(ears, if_nametoindex("br7"), GUEST_MAC)); /* once */
	return 0;
}

/* What comes next within a moment: is it for the guest, or does it ask for one? The bridge tells of its own groups, too. */
static bool next_for_guest(int tap, struct ether_header *ret)
{
	unsigned char data[2048];
	struct pollfd p = {.fd = tap, .events = POLLIN};

	while (poll(&p, 1, MOMENT_MS) > 0) {
		ssize_t n = read(tap, data, sizeof(data));

		if (n < VNET_HEADER + (ssize_t)sizeof(*ret))
			continue;
		memcpy(ret, data + VNET_HEADER, sizeof(*ret));
		if (ret->ether_type == htons(ETHERTYPE_ARP) || !(ret->ether_dhost[0] & 1))
			return true;
	}
	return false;
}

/* Sent again until it comes: what a bridge is given in the moment that it comes up is lost. */
static int body_told(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	scoped(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	scoped(fd) int tap = -1;
	struct ether_header frame;
	int tries = PATIENCE_MS / MOMENT_MS;

	NEED(make(&tap) == 0);
	neighbours_tell("br7", GUEST_IP, GUEST_MAC);
	NEED(inet_pton(AF_INET, GUEST_IP, &to.sin_addr) == 1);
	do
		NEED(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1);
	while (!next_for_guest(tap, &frame) && --tries > 0);
	NEED(tries > 0);
	NEED(frame.ether_type == htons(ETHERTYPE_IP));
	NEED(memcmp(frame.ether_dhost, guest_mac, ETH_ALEN) == 0);
	return 0;
}

static int body_acknowledged(void)
{
	scoped(fd) int tap = -1;

	NEED(make(&tap) == 0);
	NEED(sh("ip route show 10.83.7.0/24 | grep -q 'dev br7 .*src 10.83.7.1 .*quickack 1'"));
	return 0;
}

ON_A_HOST(a_bridge_tells_once_whom_it_has_heard, body_heard)
ON_A_HOST(a_guest_that_was_told_of_is_not_asked_for, body_told)
ON_A_HOST(what_guests_send_is_acknowledged_at_once, body_acknowledged)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_bridge_tells_once_whom_it_has_heard),
		TEST(a_guest_that_was_told_of_is_not_asked_for),
		TEST(what_guests_send_is_acknowledged_at_once),
	};

	return RUN_TESTS(tests);
}
