#include "api/sweep_table.h"

#include "io/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 24, MAX_FIELDS = SWEEP_MARKS + SWEEP_MAX_KEYS + 3 * EVAL_MAX_VALUES + 2, NUMBER_SIZE = 32 };

static const char *const LAST[] = { "network_calls", "seconds_per_image" };

ddpm_status sweep_table_new(const sweep_grid *g, sweep_table *t)
{
    *t = (sweep_table){ .grid = g, .cell = calloc((size_t)g->cells, sizeof *t->cell) };
    return t->cell ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for a table of %d cells", g->cells);
}

void sweep_table_free(sweep_table *t)
{
    for (int i = 0; i < SWEEP_MARKS; i++) free(t->mark[i].text);
    free(t->cell);
    free(t->others);
    *t = (sweep_table){ 0 };
}

ddpm_status sweep_table_mark(sweep_table *t, int column, const char *name, const char *text)
{
    t->mark[column] = (sweep_mark){ name, strdup(text) };
    return t->mark[column].text ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the table of a sweep");
}

ddpm_status sweep_table_put(sweep_table *t, int cell, const eval_result *r, int calls, double seconds)
{
    sweep_cell *c = &t->cell[cell];
    bool same = !t->metrics || t->metrics == r->count;
    for (int i = 0; i < r->count && same; i++) {
        sweep_metric *m = &t->metric[i];
        if (!t->metrics) snprintf(m->key, sizeof m->key, "%s", r->value[i].key);
        same = !strcmp(m->key, r->value[i].key);
        m->name = r->value[i].name;
        m->lower_is_better = r->value[i].lower_is_better;
        c->value[i] = r->value[i].value;
        c->interval[i] = r->value[i].interval;
    }
    if (!same) return ddpm_fail(DDPM_EFAIL, "the metrics of this cell are not those of the others");
    t->metrics = r->count;
    c->calls = calls;
    c->seconds = seconds;
    c->done = true;
    return DDPM_OK;
}

int sweep_table_done(const sweep_table *t)
{
    int n = 0;
    for (int i = 0; i < t->grid->cells; i++) n += t->cell[i].done;
    return n;
}

/* --- writing ---------------------------------------------------------------------------- */

static void write_text(FILE *f, const char *text)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        fprintf(f, "%s,", text);
        return;
    }
    fputc('"', f);
    for (const char *p = text; *p; p++) {
        if (*p == '"') fputc('"', f);
        fputc(*p == '\n' || *p == '\r' ? ' ' : *p, f);
    }
    fputs("\",", f);
}

/* As many digits as reading it back needs. */
static void write_number(FILE *f, double x, char end)
{
    char text[NUMBER_SIZE] = "";
    for (int digits = 15; digits <= 17 && isfinite(x); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (memcmp(&(double){ strtod(text, NULL) }, &x, sizeof x) == 0) break;
    }
    fprintf(f, "%s%c", text, end);
}

static void write_header(const sweep_table *t, FILE *f)
{
    for (int i = 0; i < SWEEP_MARKS; i++) fprintf(f, "%s,", t->mark[i].name);
    for (int k = 0; k < t->grid->keys; k++) fprintf(f, "%s,", sweep_key_name(t->grid, k));
    for (int i = 0; i < t->metrics; i++) fprintf(f, "%s,%s_low,%s_high,", t->metric[i].key, t->metric[i].key, t->metric[i].key);
    fprintf(f, "%s,%s\n", LAST[0], LAST[1]);
}

static void write_cell(const sweep_table *t, int cell, FILE *f)
{
    const sweep_cell *c = &t->cell[cell];
    for (int i = 0; i < SWEEP_MARKS; i++) write_text(f, t->mark[i].text);
    for (int k = 0; k < t->grid->keys; k++) write_text(f, sweep_value(t->grid, cell, k));
    for (int i = 0; i < t->metrics; i++) {
        write_number(f, c->value[i], ',');
        write_number(f, c->interval[i].low, ',');
        write_number(f, c->interval[i].high, ',');
    }
    fprintf(f, "%d,", c->calls);
    write_number(f, c->seconds, '\n');
}

ddpm_status sweep_table_text(const sweep_table *t, char **text, size_t *size)
{
    FILE *f = open_memstream(text, size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the table of a sweep");
    write_header(t, f);
    for (int i = 0; i < t->grid->cells; i++)
        if (t->cell[i].done) write_cell(t, i, f);
    if (t->others) fputs(t->others, f);
    return fclose(f) == 0 ? DDPM_OK : ddpm_fail(DDPM_ENOMEM, "no memory for the table of a sweep");
}

ddpm_status sweep_table_write(const sweep_table *t, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    ddpm_status status = sweep_table_text(t, &text, &size);
    if (status == DDPM_OK) status = file_write_atomic(path, text, size);
    free(text);
    return status;
}

/* --- reading ---------------------------------------------------------------------------- */

/* A line's fields, cut in place. -1: a quote that does not end, or too many. */
static int split(char *line, char *field[MAX_FIELDS])
{
    int n = 0;
    for (char *in = line; ; in++) {
        if (n == MAX_FIELDS) return -1;
        char *out = field[n++] = in;
        const bool quoted = *in == '"';
        if (quoted)
            for (in++; *in != '"' || *++in == '"'; ) {
                if (!*in) return -1;
                *out++ = *in++;
            }
        else
            while (*in && *in != ',') *out++ = *in++;
        const char end = *in;
        if (end && end != ',') return -1;
        *out = 0;
        if (!end) return n;
    }
}

static bool read_number(const char *text, double *x)
{
    char *end;
    *x = text[0] ? strtod(text, &end) : NAN;
    return !text[0] || (!*end && isfinite(*x));
}

static ddpm_status no_table(const char *path, const char *what)
{
    return ddpm_fail(DDPM_EFORMAT, "%s is no table of a sweep: %s; use another -o", path, what);
}

/* Columns of the same marks and keys; the metrics are the file's. */
static ddpm_status read_header(sweep_table *t, const char *path, char **field, int n)
{
    const int before = SWEEP_MARKS + t->grid->keys, metrics = (n - before - 2) / 3;
    if (n < SWEEP_MARKS || strcmp(field[0], t->mark[0].name)) return no_table(path, "its first line does not begin with the columns of one");
    for (int i = 0; i < SWEEP_MARKS; i++)
        if (strcmp(field[i], t->mark[i].name)) return no_table(path, "its columns are those of another version");
    for (int k = 0; k < t->grid->keys; k++)
        if (n <= SWEEP_MARKS + k || strcmp(field[SWEEP_MARKS + k], sweep_key_name(t->grid, k)))
            return ddpm_fail(DDPM_EINVAL, "%s holds a sweep of other keys: there is %s where %s would be; give the same keys in the same order to go on, or "
                                          "another -o", path, n > SWEEP_MARKS + k ? field[SWEEP_MARKS + k] : "nothing", sweep_key_name(t->grid, k));
    if (n < before + 5 || (n - before - 2) % 3 || metrics > EVAL_MAX_VALUES || strcmp(field[n - 2], LAST[0]) || strcmp(field[n - 1], LAST[1]))
        return ddpm_fail(DDPM_EINVAL, "%s holds a sweep of other keys or metrics; give the same keys in the same order to go on, or another -o", path);
    for (int i = 0; i < metrics; i++) {
        sweep_metric *m = &t->metric[i];
        snprintf(m->key, SWEEP_NAME_SIZE, "%s", field[before + 3 * i]);
        if (!eval_value_words(m->key, &m->name, &m->lower_is_better)) return no_table(path, "a column is called as no metric is");
    }
    t->metrics = metrics;
    return DDPM_OK;
}

static int find_cell(const sweep_table *t, char **value)
{
    int cell = 0;
    for (int k = 0; k < t->grid->keys; k++) {
        const sweep_key *key = &t->grid->key[k];
        int at = 0;
        while (at < key->count && strcmp(key->value[at], value[k])) at++;
        if (at == key->count) return -1;
        cell = cell * key->count + at;
    }
    return cell;
}

static ddpm_status read_cell(sweep_table *t, const char *path, char **field, int n, int *cell)
{
    sweep_cell c = { .done = true, .reused = true };
    const int before = SWEEP_MARKS + t->grid->keys;
    double calls;
    if (n != before + 3 * t->metrics + 2) return no_table(path, "a line has another number of fields than the first");
    for (int i = 0; i < SWEEP_MARKS; i++)
        if (strcmp(field[i], t->mark[i].text))
            return ddpm_fail(DDPM_EINVAL, "%s holds a sweep of %s \"%s\", this one is of \"%s\"; give the same to go on, or another -o", path, t->mark[i].name,
                             field[i], t->mark[i].text);
    bool ok = read_number(field[n - 2], &calls) && calls >= 0 && calls <= INT32_MAX && read_number(field[n - 1], &c.seconds);
    for (int i = 0; i < t->metrics && ok; i++) {
        char **of = field + before + 3 * i;
        ok = read_number(of[0], &c.value[i]) && read_number(of[1], &c.interval[i].low) && read_number(of[2], &c.interval[i].high);
    }
    if (!ok) return no_table(path, "a field that should be a number is none");
    c.calls = (int)calls;
    *cell = find_cell(t, field + SWEEP_MARKS);
    if (*cell >= 0) t->cell[*cell] = c;
    return DDPM_OK;
}

/* Lines of `text`, which is cut up; those of no cell go to `others` as they are. */
static ddpm_status read_lines(sweep_table *t, const char *path, char *text, FILE *others)
{
    bool first = true;
    for (char *line; (line = strsep(&text, "\n")); first = false) {
        char *field[MAX_FIELDS], *copy = strdup(line);
        int cell = 0;
        if (!copy) return ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", path);
        const int n = line[0] ? split(line, field) : 0;
        ddpm_status status = n < 0 ? no_table(path, "a line cannot be cut into fields") : DDPM_OK;
        if (status == DDPM_OK && first) status = read_header(t, path, field, n);
        else if (status == DDPM_OK && n) status = read_cell(t, path, field, n, &cell);
        if (status == DDPM_OK && cell < 0) fprintf(others, "%s\n", copy);
        free(copy);
        DDPM_TRY(status);
    }
    return DDPM_OK;
}

ddpm_status sweep_table_parse(sweep_table *t, const char *path, char *text, size_t len)
{
    size_t size = 0;
    if (strlen(text) != len) return no_table(path, "it is not text");
    FILE *others = open_memstream(&t->others, &size);
    if (!others) return ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", path);
    const ddpm_status status = read_lines(t, path, text, others);
    const bool kept = fclose(others) == 0;
    return status != DDPM_OK || kept ? status : ddpm_fail(DDPM_ENOMEM, "no memory for the lines of %s", path);
}

ddpm_status sweep_table_read(sweep_table *t, const char *path)
{
    uint8_t *text = NULL;
    size_t len = 0;
    if (!file_exists(path)) return DDPM_OK;
    DDPM_TRY(file_read_all(path, MAX_FILE, &text, &len));
    const ddpm_status status = sweep_table_parse(t, path, (char *)text, len);
    free(text);
    return status;
}
