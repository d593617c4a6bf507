#include "api/sample_session.h"

#include <stdlib.h>
#include <string.h>

enum { INPAINT_ROWS = 250, KNOWN = 128 };

static ddpm_status needs(const settings *request, const char *name, const char *other)
{
    if (!sampling_given(request, name)) return DDPM_OK;
    return ddpm_fail(DDPM_EINVAL, "--%s does nothing without --%s", name, other);
}

ddpm_status sample_start_check(const settings *request)
{
    const settings_values *v = &request->v;
    if (v->start_image[0] && v->inpaint[0]) return ddpm_fail(DDPM_EINVAL, "--start_image contradicts --inpaint, which starts from noise; give one of them");
    if (v->start_image[0] && v->xT[0]) return ddpm_fail(DDPM_EINVAL, "--start_image contradicts --xT; give one of them");
    if (v->inpaint[0] && !v->mask[0]) return ddpm_fail(DDPM_EINVAL, "--inpaint needs --mask FILE, a picture of the images' size that is white where pixels are known");
    if (!v->start_image[0]) DDPM_TRY(needs(request, "start_step", "start_image"));
    if (!v->start_image[0] && !v->inpaint[0] && !v->base_samples[0]) {
        DDPM_TRY(needs(request, "fit", "start_image, --inpaint or --base_samples"));
        DDPM_TRY(needs(request, "labels", "start_image, --inpaint or --base_samples"));
    }
    if (v->inpaint[0]) return DDPM_OK;
    DDPM_TRY(needs(request, "mask", "inpaint"));
    DDPM_TRY(needs(request, "jump_length", "inpaint"));
    return needs(request, "jump_n_sample", "inpaint");
}

/* --- opening --------------------------------------------------------------------------- */

/* The first row to walk is the noisiest one at or below the step asked for; the paper's t is a row's number plus 1. */
static ddpm_status choose_row(const settings *request, const sampling *how, int *first)
{
    const int T = how->full.T, asked = request->v.start_step, step = asked ? asked : T / 2;
    if (step > T) return ddpm_fail(DDPM_EINVAL, "--start_step %d: this model has timesteps 1 to %d", step, T);
    if (!how->method->run_from)
        return ddpm_fail(DDPM_EINVAL, "--start_image: the sampler %s cannot start in the middle of the chain; use ddpm or ddim", how->method->name);
    const int row = sampling_row(how, step);
    if (row < 0)
        return ddpm_fail(DDPM_EINVAL, "--start_step %d: the lowest of the %d timesteps to walk is %d; start higher, or walk more with --steps", step,
                         how->steps.T, how->steps.timestep_map[0] + 1);
    *first = row;
    return DDPM_OK;
}

static ddpm_status read_mask(sample_session *s, const char *path)
{
    const size_t pixels = (size_t)s->g.dims.pixels;
    image im;
    DDPM_TRY(image_decode_file(path, 1, &im));
    ddpm_status status = DDPM_OK;
    if (im.w != s->g.width || im.h != s->g.height)
        status = ddpm_fail(DDPM_EINVAL, "--mask %s is %dx%d (width x height), this model's images are %dx%d", path, im.w, im.h, s->g.width, s->g.height);
    else if (!(s->start.mask = malloc(pixels)))
        status = ddpm_fail(DDPM_ENOMEM, "no memory for a mask");
    for (size_t i = 0; i < pixels && status == DDPM_OK; i++) s->start.mask[i] = im.data[i] >= KNOWN;
    image_free(&im);
    return status;
}

/* RePaint's jumps are for its 250 steps; shorter chains have jumps over the same share of them. */
static ddpm_status choose_jumps(const settings *request, const sampling *how, inpainting *fill)
{
    const settings_values *v = &request->v;
    const int rows = how->steps.T, share = rows * INPAINT_JUMP / INPAINT_ROWS;
    fill->jump = v->jump_length ? v->jump_length : rows >= INPAINT_ROWS ? INPAINT_JUMP : share ? share : 1;
    fill->resamples = v->jump_n_sample;
    return inpaint_check(&how->p, fill);
}

ddpm_status sample_start_count(const settings *request, const sampling *how, int *steps, int *calls)
{
    inpainting fill = { 0 };
    int row = how->steps.T - 1;
    DDPM_TRY(sample_start_check(request));
    if (request->v.inpaint[0]) DDPM_TRY(choose_jumps(request, how, &fill));
    if (request->v.start_image[0]) DDPM_TRY(choose_row(request, how, &row));
    *steps = fill.jump ? inpaint_calls(&how->p, &fill) : row + 1;
    *calls = fill.jump || row + 1 < how->steps.T ? *steps : sampler_calls(how->method, &how->p);
    return DDPM_OK;
}

static ddpm_status choose_way(sample_session *s)
{
    const sampling *how = &s->g.how;
    sample_start *start = &s->start;
    int row;
    if (start->fill) return choose_jumps(s->request, how, &start->way);
    DDPM_TRY(choose_row(s->request, how, &row));
    start->skip = how->steps.T - 1 - row;
    start->step = how->steps.timestep_map[row] + 1;
    return DDPM_OK;
}

/* --class wins over the images' own classes, which then need not be known. */
static ddpm_status choose_labels(sample_session *s, const char *data)
{
    sample_start *start = &s->start;
    start->own_labels = s->g.model->s.v.class_cond && !sampling_given(s->request, "class");
    if (!start->own_labels) return DDPM_OK;
    return model_data_classes(&start->data, data, true, s->ev);
}

ddpm_status sample_start_open(sample_session *s)
{
    const settings_values *v = &s->request->v;
    const char *data = v->inpaint[0] ? v->inpaint : v->start_image;
    sample_start *start = &s->start;
    if (!data[0]) return DDPM_OK;
    start->given = true;
    start->fill = v->inpaint[0];
    DDPM_TRY(choose_way(s));
    if (start->fill) DDPM_TRY(read_mask(s, v->mask));
    DDPM_TRY(model_data_open_images(s->g.model, s->request, data, &start->data));
    return choose_labels(s, data);
}

void sample_start_close(sample_start *start)
{
    model_data_close(&start->data);
    free(start->mask);
    start->mask = NULL;
}

void sample_start_tell(const sample_session *s)
{
    const sample_start *start = &s->start;
    const schedule *steps = &s->g.how.steps;
    char text[160];
    if (!start->given) return;
    dataset_describe(start->data.data, text, sizeof text);
    if (!start->fill) {
        tool_message(s->ev, "starting from %s (%s) with %d of %d timesteps of noise: %d of %d steps to walk", s->request->v.start_image, text, start->step, s->g.how.full.T,
                     steps->T - start->skip, steps->T);
        return;
    }
    int known = 0;
    for (int i = 0; i < s->g.dims.pixels; i++) known += start->mask[i];
    tool_message(s->ev, "filling in %s (%s): %d of %d pixels are known; %d steps with jumps of %d, %d times, are %d network calls", s->request->v.inpaint, text,
                 known, s->g.dims.pixels, steps->T, start->way.jump, start->way.resamples, inpaint_calls(&s->g.how.p, &start->way));
}

/* --- a batch ------------------------------------------------------------------------------ */

/* Images of the data are taken in turn, by the number of the image drawn, so that it does not depend on the others. */
static int64_t number_of(const sample_session *s, int k)
{
    return (int64_t)(sample_number(s, k) % (uint64_t)dataset_count(s->start.data.data));
}

int64_t sample_start_class(const sample_session *s, int k)
{
    const model_data *d = &s->start.data;
    return d->class_of ? d->class_of[dataset_label(d->data, number_of(s, k))] : d->one_class;
}

ddpm_status sample_start_fill(sample_session *s, const draw_batch *draw)
{
    sample_batch *b = &s->b;
    const sampling *how = &s->g.how;
    const size_t len = s->g.image_len, pixels = (size_t)s->g.dims.pixels;
    for (int k = 0; k < b->n; k++) {
        int y;
        DDPM_TRY(model_data_read(&s->start.data, number_of(s, b->first + k), b->image + (size_t)k * len, &y, NULL));
        if (s->start.fill) memcpy(b->mask + (size_t)k * pixels, s->start.mask, pixels);
    }
    if (s->start.fill) return DDPM_OK;
    draw_normals(draw, RNG_START, 0, len, b->x);
    q_sample(&how->steps, how->steps.T - 1 - s->start.skip, (size_t)b->n * len, b->image, b->x, b->x);
    return DDPM_OK;
}

void sample_start_restore(const sample_session *s, uint8_t *pixels)
{
    const sample_batch *b = &s->b;
    const size_t c = (size_t)s->g.dims.channels;
    for (size_t i = 0; i < (size_t)b->n * (size_t)s->g.dims.pixels; i++)
        if (b->mask[i]) draw_quantize(b->image + i * c, c, ROUND_HALF_UP, pixels + i * c);
}
