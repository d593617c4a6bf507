/* sweep_table.h - what a sweep has measured so far: its cells, and the CSV that keeps them.
 *
 * The CSV has a line for each cell. Its first columns say what was measured, the same in every line: a sweep goes on with a
 * file only where they are its own. Then come the keys, for each metric value, low and high of its interval (empty: none),
 * the network calls of an image, and the seconds that drawing one took. Numbers have all their digits. */
#ifndef DDPM_API_SWEEP_TABLE_H
#define DDPM_API_SWEEP_TABLE_H

#include "api/judge.h"
#include "api/sweep_grid.h"

enum { SWEEP_MARKS = 7, SWEEP_NAME_SIZE = 64 };

/* A column of the first kind. The text is the table's. */
typedef struct { const char *name; char *text; } sweep_mark;

typedef struct { char key[SWEEP_NAME_SIZE]; const char *name; bool lower_is_better; } sweep_metric;

typedef struct {
    bool   done, reused;                 /* reused: read from the file */
    int    calls;                        /* network calls of an image  */
    double seconds;                      /* of an image, drawing alone */
    double value[EVAL_MAX_VALUES];
    metric_interval interval[EVAL_MAX_VALUES];
} sweep_cell;

typedef struct {
    const sweep_grid *grid;              /* borrowed                                        */
    sweep_mark    mark[SWEEP_MARKS];
    int           metrics;               /* 0: not known before the first cell is           */
    sweep_metric  metric[EVAL_MAX_VALUES];
    sweep_cell   *cell;                  /* [grid->cells]                                   */
    char         *others;                /* lines of the file that are none of these cells, or NULL */
} sweep_table;

/* Marks are filled in by sweep_table_mark, in the order of the columns. sweep_table_free also after an error. */
ddpm_status sweep_table_new(const sweep_grid *g, sweep_table *t);
void        sweep_table_free(sweep_table *t);
ddpm_status sweep_table_mark(sweep_table *t, int column, const char *name, const char *text);

/* What was measured of a cell. EFAIL: other metrics than of the cells before. */
ddpm_status sweep_table_put(sweep_table *t, int cell, const eval_result *r, int calls, double seconds);
int         sweep_table_done(const sweep_table *t);

/* Cells of an earlier sweep, if `path` exists. EINVAL: the file is of another one, and how they differ; EFORMAT: it is no such file. */
ddpm_status sweep_table_read(sweep_table *t, const char *path);
ddpm_status sweep_table_write(const sweep_table *t, const char *path);

/* The same of text at hand, text[len] with a 0 behind it: reading cuts it up, `path` is for sentences; writing makes a new one (free). */
ddpm_status sweep_table_parse(sweep_table *t, const char *path, char *text, size_t len);
ddpm_status sweep_table_text(const sweep_table *t, char **text, size_t *len);

/* --- for people and programs (sweep_report.c) ------------------------------------------ */

void        sweep_table_print(const sweep_table *t, FILE *f);
json       *sweep_table_cells(const sweep_table *t);              /* NULL: out of memory */

/* A chart for each metric over the first key that has numbers. model: what the table's images are of, as the user called it. EINVAL: there is none. */
bool        sweep_table_has_chart(const sweep_grid *g);
ddpm_status sweep_table_draw(const sweep_table *t, const char *model, const char *path);

#endif
