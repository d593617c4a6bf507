/* pickle_parts.h - what pickle.c and pickle_torch.c share. Not for other files. */
#ifndef DDPM_IO_PICKLE_PARTS_H
#define DDPM_IO_PICKLE_PARTS_H

#include "io/pickle.h"

/* The state of one pickle being read. */
typedef struct {
    pickle        *p;
    const char    *where;
    const uint8_t *bytes;
    size_t         len, at, op_at, offset;   /* at: next instruction; op_at: this one; offset: of bytes in the file */
    torch_value  **stack, **memo;
    size_t         depth, stack_cap, memo_cap, memo_count;
    size_t        *marks;
    size_t         mark_count;
    bool           stopped;
} pickle_machine;

/* EFORMAT "WHERE: WHAT (offset N)". */
ddpm_status pickle_fail(const pickle_machine *m, const char *what);

/* Zeroed memory that lives as long as the pickle; NULL: exhausted. */
void       *pickle_alloc(pickle *p, size_t bytes);
ddpm_status pickle_no_memory(const pickle_machine *m);
ddpm_status pickle_value(pickle_machine *m, int kind, torch_value **v);

/* A name the list allows. EFORMAT: "global MODULE.NAME is not allowed". */
ddpm_status pickle_find_global(pickle_machine *m, const char *module, size_t module_len, const char *name, size_t name_len, torch_value **v);

/* FUNCTION(ARGS) for the allowed functions. */
ddpm_status pickle_call(pickle_machine *m, const torch_value *function, const torch_value *args, torch_value **result);

/* numpy's __setstate__ on an array or on its type. */
ddpm_status pickle_build_array(pickle_machine *m, torch_value *object, const torch_value *state);
bool        pickle_arrays_allowed(const pickle *p);

/* The storage that a persistent id names. */
ddpm_status pickle_persistent(pickle_machine *m, const torch_value *id, torch_value **result);

/* Refuses what is no plain tree: cycles, depth, repetition without end, equal keys, machine values; sorts the keys. */
ddpm_status pickle_check(pickle_machine *m, torch_value *v, int depth);

/* Remembers a storage for pickle_storages. */
ddpm_status pickle_add_storage(pickle_machine *m, torch_storage *s);

#endif
