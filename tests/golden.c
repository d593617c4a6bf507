/* The golden runner: compares the program with a folder of reference tensors.
 *
 *   golden DIR [--backend ref|cpu] [--max_isa ISA] [--precision f32|f32x3] [--only 06]
 *
 * Prints TAP. Exit status 0: nothing compared was wrong; 1: something was;
 * 2: wrong usage or no readable golden folder. */
#include "golden_run.h"

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "io/file.h"
#include "isa.h"

#include <stdio.h>
#include <string.h>

static const struct { const char *key; void (*run)(gold_run *run, const json *section); const char *skip; } SECTIONS[] = {
    { "01_schedules",  golden_schedules, NULL },
    { "02_respacing",  golden_respacing, NULL },
    { "03_gaussian",   golden_gaussian,  NULL },
    { "04_losses",     golden_losses,    NULL },
    { "05_resampler",  golden_resampler, NULL },
    { "06_unet",       golden_unet,      NULL },
    { "07_samplers",   golden_samplers,  NULL },
    { "08_training",   golden_training,  NULL },
    { "09_metrics",    golden_metrics,   NULL },
};
enum { N_SECTIONS = sizeof SECTIONS / sizeof SECTIONS[0] };

typedef struct { const char *dir, *backend, *max_isa, *precision, *only; } arguments;

static bool parse(int argc, char **argv, arguments *a)
{
    *a = (arguments){ .backend = "ref", .max_isa = max_isa(), .precision = "f32" };
    for (int i = 1; i < argc; i++) {
        const char **value = !strcmp(argv[i], "--backend") ? &a->backend : !strcmp(argv[i], "--max_isa") ? &a->max_isa
                           : !strcmp(argv[i], "--precision") ? &a->precision : !strcmp(argv[i], "--only") ? &a->only : NULL;
        if (value && i + 1 < argc) *value = argv[++i];
        else if (!value && argv[i][0] != '-' && !a->dir) a->dir = argv[i];
        else return false;
    }
    return a->dir && (!strcmp(a->backend, "ref") || !strcmp(a->backend, "cpu")) && (!strcmp(a->precision, "f32") || !strcmp(a->precision, "f32x3"));
}

static bool wanted(const arguments *a, const char *key) { return !a->only || !strncmp(key, a->only, strlen(a->only)); }

static void end_section(gold_run *run, const char *key)
{
    const gold_counts *s = &run->section;
    printf("# %s: %d compared, %d wrong, %d skipped, worst error/tolerance %.3g%s%s\n", key, s->compared, s->wrong, s->skipped,
           s->worst, s->where[0] ? " at " : "", s->where);
    run->total.compared += s->compared;
    run->total.wrong += s->wrong;
    run->total.skipped += s->skipped;
    run->section = (gold_counts){ 0 };
    fflush(stdout);
}

static ddpm_status undescribed(gold_case *c, const void *key)
{
    (void)c;
    return ddpm_fail(DDPM_EFORMAT, "cases.json says nothing about the folder %s", (const char *)key);
}

/* Keys that this runner does not know must not pass unseen, nor folders without a key. */
static void skip_unknown(gold_run *run)
{
    for (const char *key = json_first(run->cases); key; key = json_next(run->cases, key)) {
        bool known = !strcmp(key, "about");
        for (int i = 0; i < N_SECTIONS; i++) known = known || !strcmp(key, SECTIONS[i].key);
        if (!known) gold_skip(run, key, "unknown section");
    }
    for (int i = 0; i < N_SECTIONS; i++) {
        char path[4096];
        if (json_get(run->cases, SECTIONS[i].key) || snprintf(path, sizeof path, "%s/%s", run->dir, SECTIONS[i].key) >= (int)sizeof path) continue;
        if (file_exists(path)) gold_case_run(run, SECTIONS[i].key, undescribed, SECTIONS[i].key);
    }
    run->total.skipped += run->section.skipped;
    run->total.compared += run->section.compared;
    run->total.wrong += run->section.wrong;
}

static int run_sections(gold_run *run, const arguments *a)
{
    int found = 0;
    for (int i = 0; i < N_SECTIONS; i++) {
        const json *section = json_get(run->cases, SECTIONS[i].key);
        if (!section || !wanted(a, SECTIONS[i].key)) continue;
        found++;
        if (SECTIONS[i].skip) gold_skip(run, SECTIONS[i].key, SECTIONS[i].skip);
        else SECTIONS[i].run(run, section);
        end_section(run, SECTIONS[i].key);
    }
    if (!a->only) skip_unknown(run);
    printf("1..%d\n# %d compared, %d wrong, %d skipped\n", run->lines, run->total.compared, run->total.wrong, run->total.skipped);
    if (!found) {
        fprintf(stderr, "golden: %s has no section%s%s\n", a->dir, a->only ? " " : "", a->only ? a->only : "");
        return 2;
    }
    return run->total.wrong ? 1 : 0;
}

static ddpm_status start(const arguments *a, gold_run *run)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/cases.json", a->dir) >= (int)sizeof path) return ddpm_fail(DDPM_EINVAL, "the path is too long");
    DDPM_TRY(gold_read_json(path, &run->cases));
    DDPM_TRY(pool_new(pool_default_threads(), &run->pool));
    return !strcmp(a->backend, "ref") ? backend_ref_new(&run->backend) : backend_cpu_new(a->max_isa, &run->backend);
}

/* Tolerances of section 06 are 10 times the reference's own error in f32, which comes from at least one rounding of each
 * stored value: a deviation of 2^-24 / sqrt(3) of it. What the products of f32x3 lack (tests/ops.c) has, for remainders
 * spread evenly, a deviation of 0.27 * 2^-16 of a convolution's output, 120 times as much; and errors spread through a
 * network in proportion. So 120 times the reference's error is expected at most, and no further margin given. */
static double wider(nn_dtype precision) { return precision == NN_F32X3 ? 12 : 1; }

int main(int argc, char **argv)
{
    arguments a;
    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: golden DIR [--backend ref|cpu] [--max_isa ISA] [--precision f32|f32x3] [--only SECTION]\n");
        return 2;
    }
    gold_run run = { .dir = a.dir, .precision = strcmp(a.precision, "f32x3") ? NN_F32 : NN_F32X3 };
    run.wider = wider(run.precision);
    int status = 2;
    if (start(&a, &run) == DDPM_OK) {
        printf("TAP version 13\n# %s, backend %s %s, %s\n", a.dir, run.backend->name, run.backend->isa, a.precision);
        status = run_sections(&run, &a);
    } else {
        fprintf(stderr, "golden: %s\n", ddpm_last_error());
    }
    nn_backend_free(run.backend);
    pool_free(run.pool);
    json_free(run.cases);
    return status;
}
