/* program.h - what a program around the library needs beside its commands: the
 * log sink, and what this build consists of. Not installed. */
#ifndef DDPM_API_PROGRAM_H
#define DDPM_API_PROGRAM_H

#include "base/log.h"
#include "io/json.h"

/* Version, compiler, instruction-set levels of the build and which of them this machine
 * runs, libraries. The text is malloc'ed; either may be NULL. */
ddpm_status program_build_info(char **text, json **document);

#endif
