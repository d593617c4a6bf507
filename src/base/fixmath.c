#include "base/fixmath.h"

#include "base/fixmath_core.h"

double fix_exp(double x) { return fix_exp_core(x); }
double fix_log(double x) { return fix_log_core(x); }
double fix_tanh(double x) { return fix_tanh_core(x); }
double fix_pow(double x, double y) { return fix_exp_core(y * fix_log_core(x)); }

double fix_sin(double x)
{
    double cosine, sine;
    fix_sincos_core(x, &cosine, &sine);
    return sine;
}

double fix_cos(double x)
{
    double cosine, sine;
    fix_sincos_core(x, &cosine, &sine);
    return cosine;
}
