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

enum { RANDOM_BYTES = 64, MACHINE_ID_BYTES = 16 };

/*
 * The random numbers of copies are the same until the kernel's generator starts over. Opening /dev/snapshot, which is for
 * resuming from hibernation, makes it do so; where there is none, perl can ask for it (RNDRESEEDCRNG).
 *
 * The network card is taken from its driver, so that the template has none; the shell remembers which it was. `kill` ends
 * the login that this comes by, which the copies must not have.
 *
 * udev is told to put events off: what it makes of a card that comes (rules, a unit of systemd's, an ifup that finds nothing
 * to do) takes an emulated guest a second, which the first login would have to share.
 *
 * What this guest has not done when it is captured, each copy does. So sudo does not wait for the shell, and its session is
 * over; and the last line comes when there is nothing else to do, which is when a process that gives way to all others has
 * had its turn. Files that each copy fills are emptied here: ext4 writes one that is emptied and filled out at once.
 */
const char identity_take[] =
	"[ -c /dev/snapshot ] || command -v perl >/dev/null || exit 3\n"
	"s=; [ \"$(id -u)\" = 0 ] || s='sudo -n'\n"
	"$s sh -c 'setsid sh -c \"$1\" drover $2 $3 </dev/null >/dev/null 2>&1 &' drover '\n"
	"exec </dev/ttyS1\n"
	"stty raw -echo || exit\n"
	"kill $1\n"
	"[ ! -d /run/systemd/system ] || systemctl stop \"ifup@*.service\" </dev/null\n"
	"for nic in /sys/bus/pci/drivers/virtio-pci/*/virtio*/net; do nic=${nic%/virtio*}; done\n"
	"nic=${nic##*/}\n"
	"echo $nic >/sys/bus/pci/drivers/virtio-pci/unbind\n"
	"! command -v udevadm || { udevadm settle; udevadm control --stop-exec-queue; }\n"
	"rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed\n"
	"for file in /etc/machine-id /root/.ssh/authorized_keys $2/.ssh/authorized_keys; do\n"
	"[ ! -s $file ] || true >$file\n"
	"done\n"
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
	return buf_addf(b,
			"printf %%s '%s' >/dev/urandom\n"
			"{ [ -c /dev/snapshot ] && true >/dev/snapshot; } ||\n"
			"perl -e 'open(F, \">\", \"/dev/urandom\") && ioctl(F, 0x5207, 0) || die' "
			"</dev/null || exit\n",
			text);
}

static int give_names(struct buf *b, const char *name)
{
	unsigned char bytes[MACHINE_ID_BYTES];
	char hex[2 * MACHINE_ID_BYTES + 1];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	str_hex(bytes, sizeof(bytes), hex);
	/*
	 * The time of the machine's own clock, when it is read: these lines may be taken late, on a busy host; and once more
	 * when its second is over before the program has set it.
	 */
	return buf_addf(
		b,
		"{ read -r now </sys/class/rtc/rtc0/since_epoch; } 2>/dev/null || now=@NOW@\n"
		"date -u -s @$now </dev/null >/dev/null\n"
		"for i in 1 2 3; do { read -r next </sys/class/rtc/rtc0/since_epoch; } 2>/dev/null &&"
		" [ $next != $now ] || break; now=$next; date -u -s @$now </dev/null >/dev/null; done\n"
		"printf %%s '%s' >/proc/sys/kernel/hostname\n"
		"[ ! -e /etc/machine-id ] || printf '%%s\\n' %s >>/etc/machine-id\n",
		name, hex);
}

/*
 * dropbear has a format of its own for its key: the type and both keys' bytes, each with its length. Converted here, since its
 * own program for that takes an emulated guest as long as a login; written by the shell itself, which is the fastest.
 */
static int give_dropbear_key(struct buf *b, const unsigned char key[ED25519_BYTES])
{
	int r = buf_addstr(b, "printf '\\000\\000\\000\\013ssh-ed25519\\000\\000\\000\\100");

	for (int i = 0; i < ED25519_BYTES && r == 0; i++)
		r = buf_addf(b, "\\%03o", key[i]);
	return r < 0 ? r : buf_addstr(b, "' >/run/host_key\n");
}

static int give_host_key(struct buf *b, const struct identity *i)
{
	unsigned char key[ED25519_BYTES];
	int r = keys_ed25519_bytes(i->host_key, key);

	if (r == 0)
		r = buf_addstr(b, "if command -v dropbear >/dev/null; then\n");
	if (r == 0)
		r = give_dropbear_key(b, key);
	explicit_bzero(key, sizeof(key));
	if (r < 0)
		return r;
	return buf_addf(b,
			"else\n"
			"printf '%%s\\n' '%s' >/etc/ssh/ssh_host_ed25519_key\n"
			"umask 022\n"
			"printf '%%s\\n' '%s' >/etc/ssh/ssh_host_ed25519_key.pub\n"
			"fi\n"
			"umask 022\n",
			i->host_key, i->host_key_public);
}

/* Whoever else uses the template has keys of his own. Both servers read their host key anew for each connection. */
static int give_keys(struct buf *b, const struct identity *i)
{
	int r = buf_addf(b, "umask 077\nprintf '%%s\\n' '%s' >>/root/.ssh/authorized_keys\n",
			 i->public_key);

	if (r == 0 && strcmp(i->user, "root") != 0)
		r = buf_addf(b, "printf '%%s\\n' '%s' >>/home/%s/.ssh/authorized_keys\n",
			     i->public_key, i->user);
	return r < 0 ? r : give_host_key(b, i);
}

/*
 * The network comes last: who can be reached is who it is to be. A distribution asks for an address when it hears of a new
 * card; where that goes by ifupdown it is told at once, without scripts for services that the image does not have. udev
 * goes on when the guest has nothing else to do, or somebody waits for udev.
 */
int identity_give(const struct identity *i, struct buf *ret)
{
	int r;

	if (strchr(i->public_key, '\'') || strchr(i->host_key, '\'') ||
	    strchr(i->host_key_public, '\''))
		return -EINVAL;
	r = give_random(ret);
	if (r == 0)
		r = give_names(ret, i->name);
	if (r == 0)
		r = give_keys(ret, i);
	return r < 0 ? r
		     : buf_addstr(
			       ret,
			       "echo $nic >/sys/bus/pci/drivers/virtio-pci/bind\n"
			       "[ ! -e /etc/network/interfaces ] || "
			       "ifup --no-scripts eth0 </dev/null\n"
			       "! command -v udevadm || chrt -i 0 udevadm control --start-exec-queue "
			       "</dev/null\nexit\n");
}
