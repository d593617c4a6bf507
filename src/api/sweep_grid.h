/* sweep_grid.h - the combinations of `ddpm eval --sweep "steps=10,20 eta=0,1"`. */
#ifndef DDPM_API_SWEEP_GRID_H
#define DDPM_API_SWEEP_GRID_H

#include "api/settings.h"

enum { SWEEP_MAX_KEYS = 6, SWEEP_MAX_VALUES = 32, SWEEP_MAX_CELLS = 1000, SWEEP_VALUE_SIZE = 64 };

/* An option of the table (`row`) and the values it takes, as options_print writes them. */
typedef struct {
    int  row, count;
    char value[SWEEP_MAX_VALUES][SWEEP_VALUE_SIZE];
} sweep_key;

/* Cells are numbered with the last key fastest. */
typedef struct {
    int       keys, cells;
    sweep_key key[SWEEP_MAX_KEYS];
} sweep_grid;

/* `text`: KEY=V,V... with blanks between keys, or KEY=V;V... where a value is a list with commas (a single one: KEY=V;); keys are options with GROUP_SWEPT. `request`: where they must not be given
 * as well. EINVAL names what is wrong, and the nearest key for one that is none. */
ddpm_status sweep_grid_parse(const char *text, const settings *request, sweep_grid *g);

const char *sweep_key_name(const sweep_grid *g, int key);
/* Place of the cell's value of a key among its values. */
int         sweep_place(const sweep_grid *g, int cell, int key);
const char *sweep_value(const sweep_grid *g, int cell, int key);

/* The cell's values into `s`, as if they stood on the command line. */
ddpm_status sweep_apply(const sweep_grid *g, int cell, settings *s);

/* "steps 10, eta 0", of the keys from `first` to before `end`. */
void        sweep_describe(const sweep_grid *g, int cell, int first, int end, char *text, size_t size);

/* Whether all values of a key are numbers, that a chart can have as an axis. */
bool        sweep_numeric(const sweep_grid *g, int key);

#endif
