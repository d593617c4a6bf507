/* relax.h - what a thread does between two looks at what it waits for. */
#ifndef DDPM_BASE_RELAX_H
#define DDPM_BASE_RELAX_H

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

#endif
