/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Descriptors that come and go with the messages of a socket (SCM_RIGHTS). */

#include "util/macro.h"

#include <sys/socket.h>

/* As many as the kernel lets anybody send at once (SCM_MAX_FD). Who receives has room for all of them, so that what
 * is too much is closed by us, and not just cut off. */
#define RIGHTS_MAX 253

/* What a message's msg_control is to point to. */
typedef union RightsBuffer {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(sizeof(int) * RIGHTS_MAX)];
} RightsBuffer;

/* Keeps the first 'max' descriptors that came with a message, which are the caller's, and closes the others. Returns
 * how many came. Whether some were cut off (MSG_CTRUNC) is the caller's to look at. */
size_t rights_take(struct msghdr *m, int fds[], size_t max);

/* Has a message take these along, of which there may be none, and RIGHTS_MAX at most. They stay the caller's, and the
 * buffer has to be there until the message is sent. */
void rights_attach(struct msghdr *m, RightsBuffer *b, const int fds[], size_t n);
