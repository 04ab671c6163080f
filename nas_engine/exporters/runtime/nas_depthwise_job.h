/* Depth-wise convolution: the record that its parts share, and the planes. Nothing here is for callers of the runtime.
 *
 * Planes are what the multiplying loops read: of the n input rows that make an output row (n = k) or two (n = k + 1), four
 * channels unpacked to 16 bits with their padding, one plane for each channel. A word of a plane holds two columns of a row,
 * the even one in its lower half. Word q*n + i is row i of columns 2q and 2q + 1, so that one LDM brings a pair of columns.
 * Values are doubled: sums are then counted twice, as nas_multiply_fast expects them.
 */
#ifndef NAS_DEPTHWISE_JOB_H
#define NAS_DEPTHWISE_JOB_H

#include "nas_words.h"
#include "nas_runtime.h"

#define NAS_PLANES 4U          /* channels that are worked on at once */
#define NAS_TWICE 0x00020002U  /* a value times this is the value doubled, in both halves of a word */

typedef struct nas_depthwise_job nas_depthwise_job;

/* Unpack four channels, from `channel` on, of the rows that are input; the other half of a word that holds one column of the
 * input becomes padding. What lies beyond the last channel is unpacked too, and not used. */
typedef void nas_depthwise_expand(const nas_depthwise_job *job, uint32_t channel);

struct nas_depthwise_job {
    const nas_layer *layer;
    nas_depthwise_expand *expand; /* right for the layer's input */
    uint8_t *ring;                /* k packed input rows; row r lies in slot r % k */
    uint8_t *planes;
    int8_t *weights;              /* one byte each, [C, k, k], shifted to the left by 8 - weight_bits */
    uint32_t row_bits;            /* bits of a packed input row */
    uint32_t rows;                /* of a plane */
    uint32_t plane;               /* bytes of a plane */
    /* The part of an output row, or of two, that is being made. In its planes: */
    uint32_t first, past;         /* rows first .. past - 1 are input, the others padding */
    uint32_t slot;                /* slot of the ring with row `first` */
    const uint8_t *from, *wrap, *back; /* of whole bytes: where row `first` lies; what would lie at `wrap` lies at `back` */
    uint32_t begin, stop, wanted; /* columns begin .. stop - 1 are input, the others of 0 .. wanted - 1 padding */
    uint32_t pairs;               /* words of a row both columns of which are input */
    uint32_t start;               /* bit of an input row at which column `begin` lies */
    /* Its results, as bytes: */
    uint32_t count;               /* of each channel */
    uint32_t step;                /* bytes from one to the next */
    uint32_t apart;               /* bytes from channel to channel */
    uint32_t below;               /* bytes to the second of two output rows; 0: there is one */
};

/* Where the word with column `begin` lies, in the first row that is input. */
NAS_INLINE uint8_t *nas_depthwise_top(const nas_depthwise_job *job)
{
    return job->planes + 4U * (job->rows * (job->begin / 2U) + job->first);
}

/* One word for each of the four planes. */
NAS_INLINE void nas_set_planes(uint8_t *to, uint32_t plane, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint8_t *const third = to + 2U * plane;
    nas_set_word(to, a);
    nas_set_word(to + plane, b);
    nas_set_word(third, c);
    nas_set_word(third + plane, d);
}

#endif
