/* gemm.h - the matrix products of attention, over words.
 *
 * A word is 4 bytes of an operand: one f32, or two bf16 that are neighbours in
 * the summed direction. Each result is one running sum that takes the words in
 * ascending order, whatever the blocking; pairs of bf16 are summed in f32.
 *
 * The right operand is packed in groups of columns (tile.h), so that it is made
 * once and used by many rows. Left operands lie as they are: along their rows,
 * [m][steps], or across them, [steps][m]. With tiles (AMX, pairs only) 16 rows,
 * 16 columns and 16 steps at a time are read and written, so operands and sums
 * have room for whole multiples of GEMM_WHOLE, and the words of the left operand
 * from `steps` up to there are zero. */
#ifndef DDPM_BACKEND_CPU_GEMM_H
#define DDPM_BACKEND_CPU_GEMM_H

#include "backend/cpu/isa.h"
#include "base/bf16.h"

#include <stddef.h>

enum { GEMM_WHOLE = 16 };

static inline int gemm_whole(int n)
{
    return (n + GEMM_WHOLE - 1) / GEMM_WHOLE * GEMM_WHOLE;
}

typedef struct {
    bool   pairs;            /* words are pairs of bf16                            */
    int    steps, columns;   /* words summed, results of a row                     */
    float *packed;           /* gemm_right_words of them; beyond `steps` up to gemm_whole(steps) zeros */
} gemm_right;

#define gemm_right_words ISA(gemm_right_words)
#define gemm_pack        ISA(gemm_pack)
#define gemm_pack_turned ISA(gemm_pack_turned)
#define gemm_turn        ISA(gemm_turn)
#define gemm_along       ISA(gemm_along)
#define gemm_across      ISA(gemm_across)

/* Floats that the packed form takes. */
size_t gemm_right_words(int steps, int columns);

/* Pack b[k][j]: rows of columns. f32: row k at src + k * row floats. Pairs: `summed` rows of bf16, row elements
 * apart, two of which make a step; a last one alone is paired with zeros. Sets *right but not right->packed. */
void gemm_pack(gemm_right *right, bool pairs, int summed, int columns, const void *src, ptrdiff_t row);

/* The same from the transposed matrix: column j's words are src[j * row + k], k < steps. */
void gemm_pack_turned(gemm_right *right, bool pairs, int steps, int columns, const float *src, ptrdiff_t row);

/* to[j * to_row + k] = from[k * from_row + j] for k < rows, j < columns, and zeros for k up to gemm_whole(rows). */
void gemm_turn(int rows, int columns, const float *from, ptrdiff_t from_row, float *to, ptrdiff_t to_row);

/* c[i][j] = sum over k of left[i * left_row + k] times right[k][j], for i < m. Rows of c are c_row floats. */
void gemm_along(int m, const float *left, ptrdiff_t left_row, const gemm_right *right, float *c, ptrdiff_t c_row);

/* c[i][j] (+)= sum over k of left[k * left_row + i] times right[k][j]; starts from c when `accumulate`.
 * `turned`: with tiles, memory for gemm_whole(m) * gemm_whole(steps) words; otherwise not used. */
void gemm_across(int m, const float *left, ptrdiff_t left_row, const gemm_right *right, float *c, ptrdiff_t c_row,
                 bool accumulate, float *turned);

#endif
