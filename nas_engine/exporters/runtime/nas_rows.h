/* Units of a network row by row: no tensor inside a unit is whole, and nothing is computed twice.
 *
 * A stage is one unit. Rows of its source enter one after the other: from a whole tensor, from the image, or from the stage
 * before. Its window reads a ring of rows:
 *
 *   stem                 source rows -> ring -> k x k convolution
 *   inverted residual    source row -> 1x1 -> ring -> depth-wise -> filtered row -> 1x1
 *   depth-wise separable source rows -> ring -> depth-wise -> filtered row -> 1x1
 *   residual             source rows -> k x k -> ring -> k x k; a 1x1 layer may take a source row to the shortcut
 *   head                 source row -> 1x1 -> row -> sums of the average pool (nas_rows_pool.c)
 *
 * Kernels run on copies of their records that have one row.
 */
#ifndef NAS_ROWS_H
#define NAS_ROWS_H

#include "nas_runtime.h"

enum {
    NAS_ROWS_TAKE = 1,    /* layers[0] makes the rows of the ring */
    NAS_ROWS_SIDE = 2,    /* the layer behind it makes the shortcut */
    NAS_ROWS_PROJECT = 4, /* the layer behind the window reads its row */
    NAS_ROWS_IMAGE = 8,   /* the source is the image, row by row from the caller */
    NAS_ROWS_WHOLE = 16,  /* the source is a whole tensor */
    NAS_ROWS_OVER = 32,   /* the output is written over the source */
    NAS_ROWS_LAST = 64,   /* the segment ends here: the output is a whole tensor */
    NAS_ROWS_POOL = 128   /* head and pool, a segment by itself */
};

/* One stage: 32 bytes where pointers have 4. All offsets count from the arena's first byte. */
typedef struct {
    const nas_layer *layers; /* in the order of the table */
    uint32_t source;         /* the whole source, or those of its rows that are held beside the ring */
    uint32_t ring;           /* rows that the window reads; unpacked weights of a depth-wise layer lie below it */
    uint32_t filtered;       /* a row between window and projection, if it does not lie in the ring; of the head's output */
    uint32_t scratch;        /* of all layers, one after the other */
    uint32_t state;          /* two uint16: rows that came into the ring, and source rows that entered; sums of the pool */
    uint32_t weights;        /* of layers whose weights stay unpacked, one behind the other */
    uint8_t waiting, slots;  /* rows held at `source` and in the ring; 0: the window reads the whole source; k + 1 of a depth-wise layer: it
                              * makes two rows at once, over the two oldest of the ring */
    uint8_t flags;
    uint8_t layers_unpacked; /* number of layers, and bit 4 + i set: the weights of layers[i] stay unpacked while the segment runs */
} nas_rows;

#define NAS_ROWS_LAYERS(stage) ((stage)->layers_unpacked & 15U)
#define NAS_ROWS_UNPACKED(stage, index) (((stage)->layers_unpacked >> (4U + (index)) & 1U) != 0U)

/* Unpack the weights that stay unpacked while a segment runs. */
void nas_rows_unpack(const nas_rows *first, const nas_call *call);

/* Where those of a layer lie. */
static inline uint32_t nas_rows_weights(const nas_rows *stage, uint32_t index)
{
    uint32_t at = stage->weights;
    for (uint32_t i = 0U; i < index; i++) {
        const nas_layer *const layer = stage->layers + i;
        at += NAS_ROWS_UNPACKED(stage, i) ? (((uint32_t)layer->kernel * layer->kernel * layer->in_channels + 3U) & ~3U) * layer->out_channels : 0U;
    }
    return at;
}

/* The record of a layer with the scratch of its stage, and its weights if they are unpacked: a tile. */
nas_layer nas_rows_record(const nas_rows *stage, const nas_layer *layer, const uint8_t *arena);

/* Run a layer that is no part of a unit by rows. */
void nas_rows_layer(const nas_layer *layer, const nas_call *call);

/* Run a segment. Returns the stage behind it, or NULL if the caller had no row of the image. */
const nas_rows *nas_rows_run(const nas_rows *first, const nas_call *call);

/* The same for a head and its pool. */
const nas_rows *nas_rows_pool(const nas_rows *head, const nas_call *call);

#endif
