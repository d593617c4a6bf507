#include "api/compat.h"

#include <assert.h>

static const compat_profile profiles[] = {
    [PROFILE_HO] = { "ho", PROFILE_HO, "ddpm", true, false, CLIP_REDERIVE, CLIP_REDERIVE, QUANTIZE_TRUNCATE },
    [PROFILE_OPENAI] = { "openai", PROFILE_OPENAI, "ddpm", true, true, CLIP_REDERIVE, CLIP_REDERIVE, QUANTIZE_TRUNCATE },
    [PROFILE_ERMONGROUP] = { "ermongroup", PROFILE_ERMONGROUP, "ddim", false, true, CLIP_REDERIVE, CLIP_NONE, QUANTIZE_ROUND },
    [PROFILE_DIFFUSERS] = { "diffusers", PROFILE_DIFFUSERS, "ddpm", false, true, CLIP_X0, CLIP_X0, QUANTIZE_EVEN },
};

const compat_profile *compat_find(int compat)
{
    assert(compat >= COMPAT_NONE && compat <= (int)(sizeof profiles / sizeof *profiles));
    return compat == COMPAT_NONE ? NULL : &profiles[compat - 1];
}

static void unless_given(settings *s, const char *name, const char *text)
{
    if (settings_origin(s, name) != ORIGIN_DEFAULT) return;
    const ddpm_status status = settings_set(s, name, text, ORIGIN_DEFAULT);
    assert(status == DDPM_OK);
    (void)status;
}

void compat_resolve(settings *s)
{
    static const char *const widths[] = { [SCHEDULE_F64] = "f64", [SCHEDULE_F32] = "f32", [SCHEDULE_F32_TORCH] = "f32_torch" };
    const compat_profile *p = compat_find(s->v.compat);
    if (!p) return;
    const schedule_config c = schedule_config_of(p->profile, SCHEDULE_LINEAR, s->v.diffusion_steps);
    unless_given(s, "schedule_width", widths[c.width]);
    unless_given(s, "beta_scaling", c.scaled ? "openai" : "none");
    unless_given(s, "posterior_floor", c.logvar == LOGVAR_FLOOR ? "floor" : "borrow");
    unless_given(s, "rescale_timesteps", p->profile == PROFILE_OPENAI ? "true" : "false");
    unless_given(s, "sampler", p->sampler);
}
