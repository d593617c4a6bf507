/* plot_units.h - what the loss of a run is measured in, from the settings that its folder keeps. */
#ifndef DDPM_API_PLOT_UNITS_H
#define DDPM_API_PLOT_UNITS_H

/* The label of the axis, such as "loss (mean squared error)"; "loss" where the run does not say. Static. */
const char *plot_loss_label(const char *run);

#endif
