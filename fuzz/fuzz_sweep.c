/* The table of a sweep: a file that is taken is written so that it is taken again, with the same cells. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/sweep_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const MARKS[SWEEP_MARKS] = { "model", "weights", "reference", "features", "images", "seed", "settings" };

static ddpm_status read_table(const sweep_grid *g, sweep_table *t, char *text, size_t len)
{
    if (sweep_table_new(g, t) != DDPM_OK) abort();
    for (int i = 0; i < SWEEP_MARKS; i++)
        if (sweep_table_mark(t, i, MARKS[i], "x") != DDPM_OK) abort();
    return sweep_table_parse(t, "input", text, len);
}

static void again(const sweep_grid *g, const sweep_table *t)
{
    char *text = NULL;
    size_t len = 0;
    sweep_table u;
    if (sweep_table_text(t, &text, &len) != DDPM_OK || read_table(g, &u, text, len) != DDPM_OK) abort();
    if (sweep_table_done(&u) != sweep_table_done(t)) abort();
    sweep_table_free(&u);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    settings request;
    sweep_grid g;
    sweep_table t;
    char *text = calloc(size + 1, 1);
    settings_defaults(&request);
    if (!text || sweep_grid_parse("steps=10,20 eta=0,1", &request, &g) != DDPM_OK) abort();
    memcpy(text, data, size);
    const ddpm_status s = read_table(&g, &t, text, size);
    if (s == DDPM_OK) again(&g, &t);
    else if (s != DDPM_EFORMAT && s != DDPM_EINVAL) abort();
    sweep_table_free(&t);
    free(text);
    return 0;
}
