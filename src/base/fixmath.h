/* fixmath.h - exp, log, sin, cos, tanh from fixed operations.
 *
 * libm may differ from machine to machine (versions, FMA variants chosen at run
 * time). These use only IEEE add, subtract, multiply, divide, sqrt and integer
 * steps in a fixed order, and this project is compiled with -ffp-contract=off
 * where they are, so every machine gets the same bits. Measured against libm:
 * within 2 ulp (tanh 4) over the stated range; NaN gives NaN. The formulas
 * themselves are in base/fixmath_core.h, for loops that must inline them. */
#ifndef DDPM_BASE_FIXMATH_H
#define DDPM_BASE_FIXMATH_H

double fix_exp(double x);        /* all x; 0 and inf at the ends           */
double fix_log(double x);        /* x > 0; -inf at 0, NaN below            */
double fix_sin(double x);        /* |x| <= 2^20; NaN beyond                */
double fix_cos(double x);        /* |x| <= 2^20; NaN beyond                */
double fix_tanh(double x);       /* all x                                  */
double fix_pow(double x, double y); /* x > 0: exp(y log x); relative error grows
                                       like |y log x| ulp                  */

#endif
