#include "api/plot_units.h"

#include "api/settings.h"

#include <stdio.h>

static const char *label_of(const settings *s)
{
    const var_type variance = settings_variance(s);
    if (s->v.classes_out) return "cross entropy (nats)";
    switch (settings_loss(s)) {
    case LOSS_KL: return "loss (bits/dim of a term)";
    case LOSS_RESCALED_KL: return "loss (bits/dim)";
    case LOSS_MSE_SUM: return "loss (sum of squared errors)";
    default: break;
    }
    if (variance == VAR_LEARNED || variance == VAR_LEARNED_RANGE) return "hybrid loss (squared error and bound)";
    return s->v.min_snr_gamma > 0 ? "loss (weighted squared error)" : "loss (mean squared error)";
}

const char *plot_loss_label(const char *run)
{
    settings s;
    char path[OPTION_STRING_SIZE + 16];
    settings_defaults(&s);
    snprintf(path, sizeof path, "%s/config.json", run);
    const bool known = settings_read_file(&s, path, ORIGIN_CONFIG) == DDPM_OK && settings_resolve(&s) == DDPM_OK;
    return known ? label_of(&s) : "loss";
}
