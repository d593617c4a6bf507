/* Sheets: a row of images for each class. */
#include "api/sample_session.h"

#include "io/file.h"
#include "io/sheet.h"
#include "io/svg_png.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 96 };

static const settings_values *values(const sample_session *s) { return &s->request->v; }

/* --- which rows --------------------------------------------------------------------------- */

static ddpm_status add_row(sample_session *s, const char *word)
{
    if (s->sheet.rows == s->g.model->s.v.num_classes + 1) return ddpm_fail(DDPM_EINVAL, "--class %s: more rows than the model has classes", values(s)->class_label);
    return generator_class(&s->g, word, &s->sheet.label[s->sheet.rows++]);
}

/* A name may have commas itself, so the whole word comes first. */
static ddpm_status chosen_rows(sample_session *s)
{
    char list[OPTION_STRING_SIZE], *rest = list;
    snprintf(list, sizeof list, "%s", values(s)->class_label);
    if (!strchr(list, ',') || generator_class(&s->g, list, &s->sheet.label[0]) == DDPM_OK) return add_row(s, list);
    for (char *word; (word = strsep(&rest, ","));) DDPM_TRY(add_row(s, word));
    return DDPM_OK;
}

static ddpm_status class_rows(sample_session *s)
{
    const int classes = s->g.model->s.v.num_classes;
    if (settings_origin(s->request, "num_samples") > ORIGIN_DEFAULT)
        return ddpm_fail(DDPM_EINVAL, "-n and --sheet contradict each other: a sheet of this model has %d images of each class", values(s)->sheet);
    if (!strcmp(values(s)->class_label, "random")) return ddpm_fail(DDPM_EINVAL, "--sheet shows a class in each row; --class random has none");
    s->sheet.label = calloc((size_t)classes + 1, sizeof *s->sheet.label);
    if (!s->sheet.label) return ddpm_fail(DDPM_ENOMEM, "no memory for %d rows", classes);
    if (strcmp(values(s)->class_label, "all")) return chosen_rows(s);
    for (s->sheet.rows = 0; s->sheet.rows < classes; s->sheet.rows++) s->sheet.label[s->sheet.rows] = s->sheet.rows;
    return DDPM_OK;
}

static ddpm_status check_options(const sample_session *s)
{
    const settings_values *v = values(s);
    const char *other = v->seeds[0] ? "--seeds" : v->index >= 0 ? "--index" : v->xT[0] ? "--xT" : v->start_image[0] ? "--start_image" : v->inpaint[0] ? "--inpaint"
                        : v->base_samples[0] ? "--base_samples" : v->film != FILM_AUTO ? "--film" : NULL;
    if (other) return ddpm_fail(DDPM_EINVAL, "%s and --sheet contradict each other; give one of them", other);
    return DDPM_OK;
}

ddpm_status sample_sheet_plan(sample_session *s)
{
    const int wide = values(s)->sheet;
    if (!wide || s->memory) return DDPM_OK;
    DDPM_TRY(check_options(s));
    if (s->g.model->s.v.class_cond) DDPM_TRY(class_rows(s));
    else if (settings_origin(s->request, "num_samples") <= ORIGIN_DEFAULT) s->count = wide * wide;
    if (s->sheet.label) s->count = s->sheet.rows * wide;
    else s->sheet.rows = (s->count + wide - 1) / wide;
    s->columns = wide;
    s->batch = values(s)->batch_size ? values(s)->batch_size : SAMPLING_BATCH;
    if (s->batch > s->count) s->batch = s->count;
    if (!s->sheet.label && file_has_ending(values(s)->output, ".png")) s->kind = SAMPLE_GRID;      /* nothing to write beside it */
    return DDPM_OK;
}

int sample_sheet_images(const settings *request, const settings *model)
{
    const settings_values *v = &request->v;
    int rows = 1;
    if (!v->sheet || (!model->v.class_cond && settings_origin(request, "num_samples") > ORIGIN_DEFAULT)) return v->num_samples;
    if (!model->v.class_cond) return v->sheet * v->sheet;
    for (const char *p = v->class_label; (p = strchr(p, ',')); p++) rows++;
    return v->sheet * (strcmp(v->class_label, "all") ? rows : model->v.num_classes);
}

void sample_sheet_labels(const sample_session *s)
{
    for (int k = 0; k < s->count; k++) s->labels[k] = s->sheet.label[k / values(s)->sheet];
}

/* --- the file ------------------------------------------------------------------------------ */

static void name_of(const sample_session *s, int64_t label, char name[NAME_SIZE])
{
    const model_description *m = s->g.model;
    if (label >= m->s.v.num_classes) snprintf(name, NAME_SIZE, "no class");
    else if (label < m->n_class_names) snprintf(name, NAME_SIZE, "%s", m->class_names[label]);
    else snprintf(name, NAME_SIZE, "class %lld", (long long)label);
}

typedef struct { sheet_row *row; char (*name)[NAME_SIZE]; } rows;

static ddpm_status rows_new(const sample_session *s, rows *r)
{
    const int n = s->sheet.rows, wide = values(s)->sheet;
    *r = (rows){ calloc((size_t)n, sizeof *r->row), calloc((size_t)n, sizeof *r->name) };
    if (!r->row || !r->name) return ddpm_fail(DDPM_ENOMEM, "no memory for a sheet of %d rows", n);
    for (int i = 0; i < n; i++) {
        const int first = i * wide;
        if (s->sheet.label) name_of(s, s->sheet.label[i], r->name[i]);
        r->row[i] = (sheet_row){ .name = s->sheet.label ? r->name[i] : NULL, .n = s->count - first < wide ? s->count - first : wide,
                                 .pixels = s->pixels + (size_t)first * s->g.image_len };
    }
    return DDPM_OK;
}

static void rows_free(rows *r)
{
    free(r->row);
    free(r->name);
}

/* own NULL: only looks whether the sheet can be written. */
static ddpm_status with_rows(const sample_session *s, const png_pair *own, int own_count)
{
    rows r;
    int w, h;
    generator_texts texts;
    ddpm_status status = rows_new(s, &r);
    const sheet_part part = { .n_rows = s->sheet.rows, .row = r.row };
    const sheet all = { .height = s->g.height, .width = s->g.width, .channels = s->g.dims.channels, .n_parts = 1, .part = &part };
    if (status == DDPM_OK) status = sheet_size(&all, &w, &h);
    if (status == DDPM_OK && own) {
        generator_provenance(&s->g, own, own_count, &texts);
        status = sheet_write(values(s)->output, &all, texts.pair, texts.count);
    }
    rows_free(&r);
    return status;
}

ddpm_status sample_sheet_check(const sample_session *s)
{
    DDPM_TRY(svg_check_target(values(s)->output));
    return with_rows(s, NULL, 0);
}

ddpm_status sample_sheet_write(const sample_session *s, const png_pair *own, int own_count) { return with_rows(s, own, own_count); }
