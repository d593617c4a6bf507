#include "lib/lib.h"

#include "data/dataset.h"

#include <stdlib.h>

struct ddpm_dataset {
    dataset        *set;
    dataset_reader *reader;
};

static ddpm_status open_set(ddpm_dataset *d, const char *data, const settings *request)
{
    const dataset_options o = settings_dataset(request);
    DDPM_TRY(dataset_open(data, &o, &d->set));
    return dataset_reader_new(d->set, &d->reader);
}

ddpm_status ddpm_dataset_open(ddpm_ctx *ctx, const char *data, const ddpm_options *options, ddpm_dataset **out)
{
    settings *request;
    if (out) *out = NULL;
    if (!ctx || !data || !out) return lib_missing_argument("ddpm_dataset_open");
    DDPM_TRY(lib_request(ctx, "train", options, &request));
    ddpm_dataset *d = calloc(1, sizeof *d);
    const ddpm_status status = d ? open_set(d, data, request) : ddpm_fail(DDPM_ENOMEM, "no memory for a data set");
    free(request);
    if (status == DDPM_OK) *out = d;
    else ddpm_dataset_close(d);
    return status;
}

void ddpm_dataset_close(ddpm_dataset *d)
{
    if (!d) return;
    dataset_reader_free(d->reader);
    dataset_close(d->set);
    free(d);
}

void ddpm_dataset_get_info(const ddpm_dataset *d, ddpm_dataset_info *info)
{
    if (!d || !info) return;
    *info = (ddpm_dataset_info){ .count = dataset_count(d->set), .height = dataset_height(d->set), .width = dataset_width(d->set),
                                 .channels = dataset_channels(d->set), .classes = dataset_n_classes(d->set), .format = dataset_format_name(d->set) };
}

const char *ddpm_dataset_class_name(const ddpm_dataset *d, int32_t label)
{
    return d && label >= 0 ? dataset_class_name(d->set, label) : NULL;
}

ddpm_status ddpm_dataset_read(ddpm_dataset *d, int64_t index, uint8_t *pixels, size_t size, int32_t *label)
{
    if (!d || !pixels) return lib_missing_argument("ddpm_dataset_read");
    const size_t need = dataset_image_bytes(d->set);
    if (size != need) return ddpm_fail(DDPM_EINVAL, "ddpm_dataset_read: an image has %zu bytes, there is room for %zu", need, size);
    if (index < 0 || index >= dataset_count(d->set))
        return ddpm_fail(DDPM_EINVAL, "ddpm_dataset_read: there is no image %lld; there are %lld", (long long)index, (long long)dataset_count(d->set));
    return dataset_read(d->set, d->reader, index, pixels, label);
}
