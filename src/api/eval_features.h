/* eval_features.h - `ddpm eval` of features that are in files. */
#ifndef DDPM_API_EVAL_FEATURES_H
#define DDPM_API_EVAL_FEATURES_H

#include "api/settings.h"
#include "api/tool.h"

/* samples: a file of features.h; reference: another, or statistics (statistics.h), to which there is the Frechet distance alone. EINVAL:
 * something else, other dimensions or spaces, too few rows. EFORMAT, EIO: a file is damaged or not there. */
ddpm_status eval_features(settings *request, const char *samples, const char *reference, const tool_events *ev, char **text, json **summary);

#endif
