/* doctor.h - the self-tests of `ddpm doctor`. Not for other files. */
#ifndef DDPM_API_DOCTOR_H
#define DDPM_API_DOCTOR_H

#include "api/engine.h"

/* Each takes a second or two at most. A failure's sentence says what differs. */
typedef struct { const char *name; ddpm_status (*run)(const engine *e); } doctor_test;

extern const doctor_test doctor_tests[];       /* ends with a NULL name */

#endif
