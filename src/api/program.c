#include "api/program.h"

#include "backend/cpu/cpu.h"
#include "io/image.h"

#include <stdio.h>
#include <stdlib.h>

static void list_levels(FILE *f, json *list)
{
    for (const char *const *name = cpu_isa_names(); *name; name++) {
        const bool here = cpu_isa_available(*name);
        json *o = json_new_object();
        json_put_string(o, "name", *name);
        json_put_bool(o, "available", here);
        json_append(list, o);
        fprintf(f, " %s%s", *name, here ? "" : " (not on this machine)");
    }
}

ddpm_status program_build_info(char **text, json **document)
{
    char *buffer = NULL;
    size_t size;
    FILE *f = open_memstream(&buffer, &size);
    if (!f) return ddpm_fail(DDPM_ENOMEM, "no memory for the facts of the build");
    json *o = json_new_object(), *levels = json_new_array();
    fprintf(f, "compiler: %s\ninstruction sets:", __VERSION__);
    list_levels(f, levels);
    fprintf(f, "\ndevices: cpu (CUDA and MPI are not in this build)\nlibraries: libpng, libjpeg-turbo, jansson, zlib, LAPACK\n");
    fclose(f);
    json_put_string(o, "version", DDPM_VERSION);
    json_put_string(o, "compiler", __VERSION__);
    const ddpm_status status = json_put(o, "instruction_sets", levels);
    if (document && status == DDPM_OK) *document = o;
    else json_free(o);
    if (text && status == DDPM_OK) *text = buffer;
    else free(buffer);
    return status;
}
