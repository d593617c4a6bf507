#include "api/train_session.h"

#include "diffusion/cross_entropy.h"

#include <string.h>

/* Row 0 of the process with the images themselves. */
static void take_clean(const train_session *t, const loader_batch *b, int n, const val_buffers *w)
{
    const size_t len = nn_image_len(denoiser_unet(t->net)->x->shape);
    for (int i = 0; i < n; i++) w->t[i] = process_model_t(&t->p, 0);
    memcpy(w->xt, b->x, (size_t)n * len * sizeof *w->xt);
}

/* The guesses about the images in w->xt. */
static ddpm_status guess(train_session *t, const loader_batch *b, int n, const val_buffers *w, run_validation *sum)
{
    *sum = (run_validation){ 0 };
    const int classes = t->s->v.classes_out;
    DDPM_TRY(denoiser_run(t->net, t->averaged, n, w->t, NULL, w->xt, w->out));
    for (int i = 0; i < n; i++) {
        const class_terms one = cross_entropy(classes, w->out + (size_t)i * (size_t)classes, b->label[i], 1, NULL);
        sum->loss += one.loss;
        sum->top1 += one.top1;
        sum->top5 += one.top5;
    }
    return DDPM_OK;
}

ddpm_status train_judge_classes(train_session *t, const loader_batch *b, int n, int64_t first, val_buffers *w, run_validation *v)
{
    run_validation sum;
    take_clean(t, b, n, w);
    DDPM_TRY(guess(t, b, n, w, &sum));
    v->clean_top1 += sum.top1;
    if (t->s->v.noised) {
        train_noise_held_out(t, b, n, first, w);
        DDPM_TRY(guess(t, b, n, w, &sum));
    }
    v->loss += sum.loss;
    v->top1 += sum.top1;
    v->top5 += sum.top5;
    return DDPM_OK;
}
