/* config_ermongroup.h - the YAML configurations of Song et al.'s code (ermongroup/ddim, configs/). */
#ifndef DDPM_API_CONFIG_ERMONGROUP_H
#define DDPM_API_CONFIG_ERMONGROUP_H

#include "api/settings.h"
#include "io/json.h"

/* Sections data, model, diffusion, training, sampling, optim. */
bool config_is_ermongroup(const json *document);

/* Every key becomes a value of origin `config`, or is known to say nothing here, or is refused with a
 * reason (DDPM_EINVAL); what the code has built in comes first. `where` names the file. */
ddpm_status config_from_ermongroup(settings *s, const json *document, const char *where);

#endif
