/* progressive_session.h - everything one `ddpm progressive` holds; shared by progressive.c (pictures) and
 * progressive_curve.c (the rate-distortion curve). */
#ifndef DDPM_API_PROGRESSIVE_SESSION_H
#define DDPM_API_PROGRESSIVE_SESSION_H

#include "api/generator.h"
#include "api/nll_session.h"
#include "diffusion/rate_distortion.h"

enum { PROGRESSIVE_LEVELS = 5, PROGRESSIVE_PATH_SIZE = OPTION_STRING_SIZE + 64 };

/* Images that share x_t: how far they still differ. */
typedef struct {
    int    t;                        /* of the shared x_t, 0 is the image itself                      */
    double apart;                    /* root mean square difference of two of them, values in 0..255  */
} progressive_level;

typedef struct {
    settings          *request;
    const tool_events *ev;
    generator          g;
    nll_session        bound;
    progressive_level  level[PROGRESSIVE_LEVELS];
    rate_point        *point;        /* [T] of the bound's chain                                      */
    int                seen;         /* steps walked for the pictures, so far and in all              */
    int                steps;
    double             begin;
} progressive_session;

/* The path of a file in the folder of -o. */
void        progressive_path(const progressive_session *s, const char *name, char path[PROGRESSIVE_PATH_SIZE]);

/* After nll_measure: the curve into s->point, rate_distortion.csv and .svg. */
ddpm_status progressive_curve(progressive_session *s);

/* The table and totals for people, and for --json. */
ddpm_status progressive_print(const progressive_session *s, char **text);
ddpm_status progressive_put_curve(const progressive_session *s, json *o);

#endif
