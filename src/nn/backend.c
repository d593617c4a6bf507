#include "nn/backend.h"

void nn_backend_free(nn_backend *b)
{
    if (b) b->release(b);
}
