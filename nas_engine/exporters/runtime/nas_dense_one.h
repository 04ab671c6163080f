/* Dense layers: results of one pixel for a row of output channels. Nothing here is for callers of the runtime. */
#ifndef NAS_DENSE_ONE_H
#define NAS_DENSE_ONE_H

#include "nas_dense_row.h"

/* Like nas_dense_pairs_w8, of one pixel expanded alone, where rounding is quick. */
void nas_dense_one(nas_row *row);

#endif
