/* eval_report.h - what a comparison found, as text and as a document. */
#ifndef DDPM_API_EVAL_REPORT_H
#define DDPM_API_EVAL_REPORT_H

#include "api/comparison.h"

ddpm_status eval_report_text(const comparison *c, char **text);      /* malloc'ed */
ddpm_status eval_report_document(const comparison *c, json **o);

#endif
