/* nll_session.h - everything one `ddpm nll` holds; shared by nll.c (what is measured) and
 * nll_report.c (what is kept of it and written). */
#ifndef DDPM_API_NLL_SESSION_H
#define DDPM_API_NLL_SESSION_H

#include "api/checkpoint.h"
#include "api/measure.h"
#include "api/network.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "base/log.h"
#include "data/dataset.h"
#include "diffusion/nll.h"

#include <stddef.h>

typedef enum { NLL_OUT_NONE, NLL_OUT_CSV, NLL_OUT_NPZ } nll_out;

typedef struct {
    settings         *request;
    const tool_events *ev;
    model_file       *file;
    const model_description *model;
    char              fingerprint[9];
    dataset          *data;
    dataset_reader   *reader;
    int              *class_of;      /* the model's number of each class of the data; NULL: unconditional */
    schedule          full, respaced;
    process           p;
    nll_plan          plan;
    engine            e;
    network           n;
    float            *wide;          /* NULL, or an output that says more than is read  */
    int               batch, count;  /* images at once; to measure                      */
    int               measured, bad;
    uint64_t         *index;         /* [count] numbers in the data set                 */
    int              *label;         /* [count] the data's                              */
    nll_bound        *bound;         /* [count]                                         */
    double           *finest;        /* [count] mean squared error of x_0 in row 0      */
    int64_t           done;          /* terms                                           */
    double            begin;
    nll_out           kind;
    double           *sum[3];        /* [T] vb, xstart_mse, mse over the images, descending; all terms only */
    double           *term[3];       /* [count, calls] the same by image, for .npz      */
    double           *factor;        /* [count, calls] for .npz                         */
    int              *row;           /* [count, calls] for .npz                         */
} nll_session;

size_t      nll_image_len(const nll_session *s);

/* Mean over the images measured so far of the double at `field` of nll_bound. */
double      nll_mean(const nll_session *s, size_t field);

/* What would fail after all the work must fail before it. */
ddpm_status nll_check_output(nll_session *s);
ddpm_status nll_reserve_terms(nll_session *s);
void        nll_keep_terms(nll_session *s, const nll_result *r, int n);    /* of images measured .. measured + n - 1 */
void        nll_free_terms(nll_session *s);
ddpm_status nll_write(const nll_session *s);                                /* the file of -o   */
ddpm_status nll_report(const nll_session *s, const char *data, char **text, json **summary);

#endif
