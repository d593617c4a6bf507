/* confine.h - a process that takes rights from itself before it touches what it does not trust. Not for other rooms. */
#ifndef DDPM_IO_CONFINE_H
#define DDPM_IO_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/* Keeps `fd`, which becomes descriptor 3, and no other file; 0, 1 and 2 lead nowhere. The process may add `memory` bytes to
 * its address space, run for `seconds`, write no file, leave no core, and ends when its parent does. False: refused by the system. */
bool confine_process(int *fd, size_t memory, unsigned seconds);

/* From here only memory and writing to open files: any other system call ends the process. False: this processor or
 * kernel has no such filter, and nothing changed. */
bool confine_calls(void);

#endif
