/* tool.h - what the program's commands are made of.
 *
 * Not installed and not stable: the commands of cli/ need more than a public
 * interface should promise. Each function does the whole work of a command from
 * resolved words to files, talks only through `events`, and never prints. */
#ifndef DDPM_API_TOOL_H
#define DDPM_API_TOOL_H

#include "api/settings.h"
#include "train/run.h"

/* Progress of anything that takes time. unit: "steps", "images" and so on. */
typedef struct {
    const char *what, *unit;
    int64_t     done, total;
    double      per_second, eta_seconds;
    const char *extra;                   /* loss and so on; may be ""                  */
    bool        line;                    /* worth a line where lines are kept          */
    const char *quantity;                /* the one number that matters; NULL: none    */
    double      value;
} tool_progress;

typedef struct {
    void *ctx;
    void (*message)(void *ctx, const char *text);                  /* a line for the user      */
    void (*progress)(void *ctx, const tool_progress *p);
    run_request (*request)(void *ctx);                             /* signals; NULL: none      */
} tool_events;

void tool_message(const tool_events *ev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* RUN_GO_ON where there is nobody to ask. */
run_request tool_request(const tool_events *ev);

/* Tells p with the speed and the time left that follow from its numbers and from `begin` (clock_now); without a line where all of it takes
 * less than 2 seconds. p.extra may be NULL. */
void tool_tell_progress(const tool_events *ev, tool_progress p, double begin);

/* Whether another quarter of `all` is done: work without natural marks has four lines. */
bool tool_quarter(int64_t before, int64_t done, int64_t all);

/* `ddpm train DATA -o RUN`. command: the command line, for config.json. *summary (may be NULL) receives
 * a JSON object for --json. */
ddpm_status tool_train(settings *s, const char *data, const char *command, const tool_events *ev, json **summary);

/* `ddpm sample MODEL -o OUT`. */
ddpm_status tool_sample(settings *s, const char *model, const tool_events *ev, json **summary);

/* `ddpm nll MODEL DATA`: bits per dimension; -o FILE.csv or FILE.npz for every image, FILE.svg or FILE.png for charts over t. */
ddpm_status tool_nll(settings *s, const char *model, const char *data, const tool_events *ev, char **text, json **summary);

/* `ddpm eval SAMPLES REFERENCE`: how far two sets are apart: images, each a DATA argument or an .npz, or features or statistics in .npz. */
ddpm_status tool_eval(settings *s, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary);

/* `ddpm eval MODEL REFERENCE --sweep "steps=10,20 eta=0,1"`: that, for images drawn with every combination; -o FILE.csv keeps them cell by cell. */
ddpm_status tool_sweep(const settings *s, const char *model, const char *reference, const tool_events *ev, char **text, json **summary);

/* `ddpm features DATA -o FILE.npz`: features of images, or of a part of them, for `ddpm eval`. */
ddpm_status tool_features(settings *s, const char *data, const tool_events *ev, char **text, json **summary);

/* `ddpm progressive MODEL DATA -o FOLDER`: pictures of the chain, and the rate-distortion curve. */
ddpm_status tool_progressive(settings *s, const char *model, const char *data, const tool_events *ev, char **text, json **summary);

/* `ddpm interpolate MODEL A B [C D] -o OUT`: 2 or 4 words, image files or seed:N. */
ddpm_status tool_interpolate(settings *s, const char *model, const char *const *ends, int count, const tool_events *ev, json **summary);

/* `ddpm encode MODEL DATA -o LATENTS`: DDIM's latents of images, and how well they come back. */
ddpm_status tool_encode(settings *s, const char *model, const char *data, const tool_events *ev, char **text, json **summary);

/* `ddpm decode MODEL LATENTS -o OUT`: tool_sample from such a file, over its chain. */
ddpm_status tool_decode(settings *s, const char *model, const char *latents, const tool_events *ev, json **summary);

/* `ddpm neighbours SAMPLES DATA -o OUT.png`: the images of DATA that samples are nearest to; a picture and a histogram. */
ddpm_status tool_neighbours(settings *s, const char *samples, const char *data, const tool_events *ev, char **text, json **summary);

/* `ddpm convert MODEL OUT`: the model without a run's state, as a folder or a file that others open. OUT must not exist. EINVAL: that
 * form cannot represent it. */
ddpm_status tool_convert(settings *s, const char *model, const char *out, const tool_events *ev, json **summary);

/* `ddpm data pack DATA OUT.ddpmdata`: a data set, also an LMDB database, as a file that is mapped. */
ddpm_status tool_data_pack(settings *s, const char *data, const char *out, const tool_events *ev, json **summary);

/* `ddpm data verify FILE.ddpmdata`: is it what was written? */
ddpm_status tool_data_verify(const char *path, const tool_events *ev, json **summary);

/* `ddpm info X`: a model, run, data set, sample file or configuration; text for people in *text (malloc'ed). */
ddpm_status tool_info(settings *s, const char *path, char **text, json **summary);

/* `ddpm plan train DATA ...` or `plan sample MODEL ...`: memory, disk and time before anything runs. */
ddpm_status tool_plan(settings *s, const char *command, const char *subject, char **text, json **summary);

/* `ddpm plot RUN...`: the curves of runs, from their log.jsonl, as one picture: -o FILE.svg or FILE.png, or RUN/curves.svg of a single run. */
ddpm_status tool_plot(const settings *s, const char *const *runs, int count, char **text, json **summary);

/* `ddpm bench`: a training step and a forward pass of a preset, next to this machine's ceilings. */
ddpm_status tool_bench(settings *s, const tool_events *ev, char **text, json **summary);

/* `ddpm doctor`: what the machine offers, which kernels run, a self-test. */
ddpm_status tool_doctor(settings *s, const tool_events *ev, char **text, json **summary);

#endif
