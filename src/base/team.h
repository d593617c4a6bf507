/* team.h - steps, each cut in parts, that several threads do together in order.
 *
 * A step begins when all parts of the one before are done, and what they wrote is
 * visible to it. Parts are handed out to whoever asks: a thread that comes late, or
 * that the system has set aside, keeps others waiting only while it is in the middle
 * of a part, and one thread alone does everything. Who waits spins for some
 * microseconds and then sleeps. */
#ifndef DDPM_BASE_TEAM_H
#define DDPM_BASE_TEAM_H

#include "base/status.h"

#include <stdbool.h>

enum { TEAM_MAX_PARTS = 40, TEAM_MAX_STEPS = 0xffff };

typedef struct team team;
typedef struct { int step, part; } team_share;

#define TEAM_NOTHING ((team_share){ -1, 0 })

ddpm_status team_new(team **t);      /* DDPM_ENOMEM */
void        team_free(team *t);      /* NULL ok     */

/* What there is to do from now on, within the limits above; no thread may be at work. */
void team_begin(team *t, int steps, int parts);

/* *share is done (TEAM_NOTHING at first); the next one, when its step may begin. false: all are
 * given away. All are done when every thread that came has been told so. `member`, 0 or more:
 * part member modulo parts is preferred, for the sake of what the thread's caches hold. */
bool team_next(team *t, int member, team_share *share);

#endif
