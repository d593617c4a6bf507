/* nll_session.h - everything one measurement of bounds holds; shared by nll.c (what is measured), nll_report.c (what
 * `ddpm nll` keeps of it and writes) and progressive_curve.c (the rate-distortion curve). */
#ifndef DDPM_API_NLL_SESSION_H
#define DDPM_API_NLL_SESSION_H

#include "api/checkpoint.h"
#include "api/measure.h"
#include "api/model_data.h"
#include "api/network.h"
#include "api/sampling.h"
#include "api/tool.h"
#include "base/log.h"
#include "diffusion/nll.h"
#include "train/predictor.h"

#include <stddef.h>

enum { NLL_IMAGES = 1000 };       /* measured when nobody says how many */

typedef enum { NLL_OUT_NONE, NLL_OUT_CSV, NLL_OUT_NPZ, NLL_OUT_CHARTS } nll_out;

typedef struct {
    settings         *request;
    const tool_events *ev;
    int               usual;         /* images when nobody says how many                */
    bool              all_terms;     /* whatever --steps says                           */
    bool              own_labels;    /* --class is for data without labels only         */
    model_file       *file;          /* opened, unless it is given: then it stays the caller's */
    bool              given;
    const model_description *model;
    char              fingerprint[9];
    model_data        data;
    schedule          full, respaced;
    process           p;
    nll_plan          plan;
    engine            e;
    network           n;
    predictor         net;
    int              *which;         /* [batch] image of each term of a call, for an up-sampler; else NULL */
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

/* Fill in request, ev, usual, all_terms, own_labels, perhaps file and given; the rest starts at zero. open finds what is wrong with model, data and options; load
 * takes the engine and the weights; measure walks over the images (ESTOPPED: on request). Close also after an error. */
ddpm_status nll_open(nll_session *s, const char *model, const char *data);
ddpm_status nll_load(nll_session *s);
ddpm_status nll_measure(nll_session *s);
void        nll_close(nll_session *s);

/* `ddpm nll` with such a session; closes it. model is not read when a file is given. */
ddpm_status nll_command(nll_session *s, const char *model, const char *data, char **text, json **summary);

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
