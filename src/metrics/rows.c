#include "metrics/rows.h"

#include <math.h>
#include <string.h>

void metric_rows_read(const metric_rows *r, size_t row, double *out)
{
    if (r->wide) {
        memcpy(out, (const char *)r->data + row * r->dims * sizeof(double), r->dims * sizeof(double));
        return;
    }
    const char *at = (const char *)r->data + row * r->dims * sizeof(float);
    for (size_t i = 0; i < r->dims; i++) {
        float narrow;
        memcpy(&narrow, at + i * sizeof narrow, sizeof narrow);
        out[i] = (double)narrow;
    }
}

static double at(const metric_rows *r, size_t i)
{
    double wide;
    float narrow;
    if (r->wide) {
        memcpy(&wide, (const char *)r->data + i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)r->data + i * sizeof narrow, sizeof narrow);
    return (double)narrow;
}

bool metric_rows_finite(const metric_rows *r, size_t *row, size_t *column)
{
    for (size_t i = 0; i < r->n * r->dims; i++)
        if (!isfinite(at(r, i))) {
            *row = i / r->dims;
            *column = i % r->dims;
            return false;
        }
    return true;
}
