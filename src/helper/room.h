/* SPDX-License-Identifier: MIT */
#ifndef DROVER_HELPER_ROOM_H
#define DROVER_HELPER_ROOM_H

#include "base/err.h"

#include <fcntl.h>
#include <unistd.h>

/*
 * Descriptors that are held while a member is registered, and free again after it: for its peers, who would wait without an
 * answer, and for undoing what was begun when it is descriptors that lack.
 */
enum { ROOM = 4 };

struct room {
	int fds[ROOM];
	size_t n;
};

static inline void room_leave(struct room *room)
{
	while (room->n > 0)
		close(room->fds[--room->n]);
}

static inline void scoped_room(struct room *room)
{
	room_leave(room);
}

static inline int room_take(struct room *room, struct err *e)
{
	while (room->n < ROOM) {
		int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0); /* always open: loop_init */

		if (fd < 0)
			return err_errno(e, -errno, "keep descriptors for its peers");
		room->fds[room->n++] = fd;
	}
	return 0;
}

#endif
