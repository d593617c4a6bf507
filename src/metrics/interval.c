#include "metrics/interval.h"

#include <math.h>

#define Z 1.959963984540054       /* quantile 0.975 of the normal distribution */

double interval_mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

double interval_deviation(const double *values, size_t n, size_t divisor)
{
    const double mean = interval_mean(values, n);
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (values[i] - mean) * (values[i] - mean);
    return sqrt(squares / (double)divisor);
}

static metric_interval wilson(double share, double count)
{
    const double bend = Z * Z / count, middle = share + bend / 2;
    const double half = Z * sqrt(share * (1 - share) / count + bend / (4 * count));
    const double low = (middle - half) / (1 + bend), high = (middle + half) / (1 + bend);
    return (metric_interval){ share > 0 && low > 0 ? low : 0, share < 1 && high < 1 ? high : 1 };
}

metric_interval interval_share(double share, size_t n) { return wilson(share, (double)n); }

/* Of no or all points the share itself would say that it does not vary: that of four more points, half of them inside, does. */
metric_interval interval_share_spread(double share, size_t n, double variance)
{
    const double count = (double)n, inner = (share * count + 2) / (count + 4), point = inner * (1 - inner);
    return variance > 0 ? wilson(share, point / (point / count + variance)) : interval_share(share, n);
}

double interval_jackknife(const double *value, size_t groups)
{
    const double deviation = interval_deviation(value, groups, groups);
    return (double)(groups - 1) * deviation * deviation;
}

metric_interval interval_normal(double estimate, double standard_error)
{
    return (metric_interval){ estimate - Z * standard_error, estimate + Z * standard_error };
}

metric_interval interval_student_error(double estimate, double standard_error, double degrees)
{
    const double z2 = Z * Z;
    const double first = (z2 + 1) / 4, second = (5 * z2 * z2 + 16 * z2 + 3) / 96, third = (3 * z2 * z2 * z2 + 19 * z2 * z2 + 17 * z2 - 15) / 384;
    const double half = Z * (1 + (first + (second + third / degrees) / degrees) / degrees) * standard_error;
    return (metric_interval){ estimate - half, estimate + half };
}

metric_interval interval_student(double mean, double deviation, size_t n)
{
    return interval_student_error(mean, deviation / sqrt((double)n), (double)(n - 1));
}
