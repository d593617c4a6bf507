/* amx_block.h - a block of running sums in tiles, up to 32 rows by 32 columns.
 *
 * Tiles 0 and 1 hold rows 0..15 and 16..31 of columns 0..15, tiles 4 and 5 those of
 * columns 16..31; 2 is the left operand, 3 and 6 are the right one. Every sum takes the
 * same products in the same order whatever the block's shape, so the shape never
 * shows in the bits. */
#ifndef DDPM_BACKEND_CPU_AMX_BLOCK_H
#define DDPM_BACKEND_CPU_AMX_BLOCK_H

#include "backend/cpu/amx.h"

/* Whether the block has rows 16..31, and columns 16..31. */
typedef struct { bool tall, wide; } amx_shape;

/* Where the sums lie: rows of 16 floats `row` floats apart; `low` and `right` lead from
 * row 0, column 0 to row 16 and to column 16. */
typedef struct { float *at; ptrdiff_t row, low, right; } amx_sums;

/* The operands of 16 steps (tile.h): 16 rows of the left one `row` bytes apart, `low` the rows
 * from 16 on; the right one [step][column] for columns 0..15 and, at `right`, 16..31. What
 * the shape leaves out is not read. */
typedef struct { const char *left, *low; ptrdiff_t row; const char *b, *right; } amx_operands;

/* For blocks of 16 columns, or of up to 32; amx_end afterwards. */
static inline void amx_block_begin(amx_state *amx, bool wide)
{
    amx_begin(amx, wide ? 7 : 4);
}

static inline void amx_block_zero(amx_state *amx, amx_shape shape)
{
    amx_zero(amx, 0);
    if (shape.tall) amx_zero(amx, 1);
    if (shape.wide) amx_zero(amx, 4);
    if (shape.wide && shape.tall) amx_zero(amx, 5);
}

static inline void amx_block_load(amx_state *amx, amx_shape shape, const amx_sums *s)
{
    amx_load(amx, 0, s->at, s->row * 4);
    if (shape.tall) amx_load(amx, 1, s->at + s->low, s->row * 4);
    if (shape.wide) amx_load(amx, 4, s->at + s->right, s->row * 4);
    if (shape.wide && shape.tall) amx_load(amx, 5, s->at + s->low + s->right, s->row * 4);
}

static inline void amx_block_store(const amx_state *amx, amx_shape shape, const amx_sums *s)
{
    amx_store(amx, 0, s->at, s->row * 4);
    if (shape.tall) amx_store(amx, 1, s->at + s->low, s->row * 4);
    if (shape.wide) amx_store(amx, 4, s->at + s->right, s->row * 4);
    if (shape.wide && shape.tall) amx_store(amx, 5, s->at + s->low + s->right, s->row * 4);
}

/* On to the next 16 steps. */
static inline void amx_next_steps(amx_operands *x)
{
    x->left += 64;
    x->low += 64;
    x->b += 1024;
    x->right += 1024;
}

static inline void amx_block_step(amx_state *amx, amx_shape shape, const amx_operands *x)
{
    amx_load(amx, 3, x->b, 64);
    if (shape.wide) amx_load(amx, 6, x->right, 64);
    amx_load(amx, 2, x->left, x->row);
    amx_dp(amx, 0, 2, 3);
    if (shape.wide) amx_dp(amx, 4, 2, 6);
    if (!shape.tall) return;
    amx_load(amx, 2, x->low, x->row);
    amx_dp(amx, 1, 2, 3);
    if (shape.wide) amx_dp(amx, 5, 2, 6);
}

#endif
