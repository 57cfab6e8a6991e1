/* SPDX-License-Identifier: MIT */
/*
 * What is taken from a guest that becomes a template, and what each copy is given: by a shell of the guest's own on its
 * second serial line, with nothing but what its distribution has.
 */
#include "base/buf.h"
#include "base/scoped.h"
#include "base/str.h"
#include "guest/guest.h"
#include "guest/template.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { RANDOM_BYTES = 64, MACHINE_ID_BYTES = 16, TTY_MIN = 255 };

/*
 * What this guest has not done when it is captured, each copy does. So sudo does not wait for the shell, and its session is
 * over; and the last line comes when there is nothing else to do, which is when a process that gives way to all others has
 * had its turn. Files that each copy fills are emptied here: ext4 writes one that is emptied and filled out at once.
 *
 * What copies have in common is a function here, so that less is typed and read there. The shell is busybox's, which
 * runs its own programs without loading them. `kill` ends the login that this comes by, which the copies must not have.
 *
 * The network card keeps its driver and stays up: to take it away and give it back took each copy as long as a login.
 * What it has of this guest goes: its address and routes, and IPv6. The DHCP client gives its lease back (SIGUSR2); its
 * script is replaced meanwhile by one that tells when it runs and does nothing, or it might take away what copies set.
 *
 * The random numbers of copies are the same until the kernel's generator starts over. Opening /dev/snapshot, which is for
 * resuming from hibernation, makes it do so; where there is none, perl can ask for it (RNDRESEEDCRNG).
 *
 * The time is that of the machine's own clock, when it is read: the lines may be taken late, on a busy host; and once more
 * when its second is over before the program has set it. QEMU begins that clock with a whole second of the host's, and it is
 * read in whole seconds: it is late by up to two. With one more the guest's is wrong by less than one.
 *
 * The line is read when there is much to read, and not for each few bytes: what is typed ends with TTY_MIN more than is
 * wanted (identity_give).
 */
const char identity_take[] =
	"[ -c /dev/snapshot ] || command -v perl >/dev/null || exit 3\n"
	"command -v busybox >/dev/null || exit 3\n"
	"s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'\n"
	"$s sh -c 'setsid busybox sh -c \"$1\" drover $2 $3 </dev/null >/dev/null 2>&1 &' drover '\n"
	"exec </dev/ttyS1\n"
	"stty raw -echo min 255 time 0 || exit\n"
	"kill $1\n"
	"for nic in /sys/class/net/*/device; do nic=${nic%/device}; nic=${nic##*/}; done\n"
	"for file in /run/udhcpc.$nic /run/udhcpc.$nic.pid; do [ ! -f $file ] || read -r pid <$file; done\n"
	"for file in /etc/udhcpc /etc/udhcpc/default.script; do [ ! -f $file ] || script=$file; done\n"
	"mkdir /run/give && mkfifo /run/give/back &&\n"
	"printf \"#!/bin/sh\\n: >/run/give/back\\n\" >/run/give/script && chmod 755 /run/give/script &&\n"
	"mount -o bind /run/give/script $script && kill -USR2 $pid && : </run/give/back || exit\n"
	"umount -l $script\n"
	"rm -r /run/give\n"
	"ip addr flush dev $nic\n"
	"ip neigh flush dev $nic\n"
	"echo 1 >/proc/sys/net/ipv6/conf/$nic/disable_ipv6\n"
	"! command -v udevadm || udevadm settle\n"
	"rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed\n"
	"for file in /etc/machine-id /root/.ssh/authorized_keys $2/.ssh/authorized_keys; do\n"
	"[ ! -s $file ] || true >$file\n"
	"done\n"
	"name=$(hostname)\n"
	"hosts=/dev/null; ! grep -q \" $name\\$\" /etc/hosts || hosts=/etc/hosts\n"
	"sed -i \"/ $name\\$/d\" /etc/hosts\n"
	"sed -i /^nameserver/d /etc/resolv.conf\n"
	"dropbear=; ! command -v dropbear || dropbear=/run/host_key\n"
	"[ ! -d /etc/dropbear ] || dropbear=/etc/dropbear/dropbear_ed25519_host_key\n"
	"random() {\n"
	"	printf %s $1 >/dev/urandom\n"
	"	{ [ -c /dev/snapshot ] && true >/dev/snapshot; } ||\n"
	"	perl -e \"open(F, q(>), q(/dev/urandom)) && ioctl(F, 0x5207, 0) || die\" </dev/null || exit\n"
	"}\n"
	"rtc() { read -r $1 </sys/class/rtc/rtc0/since_epoch; } 2>/dev/null\n"
	"clock() {\n"
	"	rtc now || now=$1\n"
	"	date -u -s @$((now + 1))\n"
	"	for i in 1 2 3 4 5 6 7 8 9; do\n"
	"		rtc next && [ $next != $now ] || break; now=$next; date -u -s @$((now + 1))\n"
	"	done\n"
	"}\n"
	"names() {\n"
	"	printf %s $1 >/proc/sys/kernel/hostname\n"
	"	echo $3 $1 >>$hosts\n"
	"	[ ! -e /etc/machine-id ] || echo $2 >>/etc/machine-id\n"
	"}\n"
	"key() { echo \"$1\" >>$2/.ssh/authorized_keys; }\n"
	"host_key() {\n"
	"	if [ \"$dropbear\" ]; then\n"
	"		printf \"\\\\0\\\\0\\\\0\\\\13ssh-ed25519\\\\0\\\\0\\\\0\\\\100$1\" >$dropbear\n"
	"	else\n"
	"		echo \"$2\" >/etc/ssh/ssh_host_ed25519_key\n"
	"		umask 022\n"
	"		echo \"$3\" >/etc/ssh/ssh_host_ed25519_key.pub\n"
	"	fi\n"
	"}\n"
	"net() {\n"
	"	echo nameserver $3 >>/etc/resolv.conf\n"
	"	ip link set $nic address $1\n"
	"	ip addr add $2/24 brd + dev $nic\n"
	"	ip route add default via $3\n"
	"	echo 0 >/proc/sys/net/ipv6/conf/$nic/disable_ipv6\n"
	"}\n"
	"umask 077\n"
	"sync\n"
	"chrt -i 0 true </dev/null\n"
	"echo \"" TEMPLATE_READY "\" >/dev/console\n"
	". /dev/ttyS1\n"
	"' $PPID ~ || true\n";

/* First, and without a new process, which would take random numbers itself. */
static int give_random(struct buf *b)
{
	unsigned char bytes[RANDOM_BYTES];
	scoped(mem) char *text = NULL;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	text = str_base64(bytes, sizeof(bytes));
	if (!text)
		return -ENOMEM;
	return buf_addf(b, "random %s\n", text);
}

static int give_names(struct buf *b, const struct identity *i)
{
	unsigned char bytes[MACHINE_ID_BYTES];
	char hex[2 * MACHINE_ID_BYTES + 1];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	str_hex(bytes, sizeof(bytes), hex);
	return buf_addf(b, "clock @NOW@\nnames %s %s %s\n", i->name, hex, i->ip);
}

/*
 * dropbear has a format of its own for its key: the type and both keys' bytes, each with its length. Converted here, since its
 * own program for that takes an emulated guest as long as a login; written by the shell itself, which is the fastest.
 */
static int give_host_key(struct buf *b, const struct identity *i)
{
	unsigned char key[ED25519_BYTES];
	int r = keys_ed25519_bytes(i->host_key, key);

	if (r == 0)
		r = buf_addstr(b, "host_key '");
	for (int n = 0; n < ED25519_BYTES && r == 0; n++)
		r = buf_addf(b, "\\%03o", key[n]);
	explicit_bzero(key, sizeof(key));
	return r < 0 ? r : buf_addf(b, "' '%s' '%s'\n", i->host_key, i->host_key_public);
}

/* Whoever else uses the template has keys of his own. Both servers read their host key anew for each connection. */
static int give_keys(struct buf *b, const struct identity *i)
{
	int r = buf_addf(b, "key '%s' /root\n", i->public_key);

	if (r == 0 && strcmp(i->user, "root") != 0)
		r = buf_addf(b, "key '%s' /home/%s\n", i->public_key, i->user);
	return r < 0 ? r : give_host_key(b, i);
}

/* The gateway of a cluster is the first address of its network. */
static int give_network(struct buf *b, const struct identity *i)
{
	const char *last = strrchr(i->ip, '.');

	if (!last || i->ip[strspn(i->ip, "0123456789.")] || !*i->mac ||
	    i->mac[strspn(i->mac, "0123456789abcdefABCDEF:")])
		return -EINVAL;
	return buf_addf(b, "net %s %s %.*s.1\n", i->mac, i->ip, (int)(last - i->ip), i->ip);
}

/* The network comes last: who can be reached is who it is to be. */
int identity_give(const struct identity *i, struct buf *ret)
{
	int r;

	if (strchr(i->public_key, '\'') || strchr(i->host_key, '\'') ||
	    strchr(i->host_key_public, '\''))
		return -EINVAL;
	r = give_random(ret);
	if (r == 0)
		r = give_names(ret, i);
	if (r == 0)
		r = give_keys(ret, i);
	if (r == 0)
		r = give_network(ret, i);
	return r < 0 ? r : buf_addf(ret, "exit\n%*s\n", TTY_MIN, "");
}
