/* Writes padding, the stored value of the real 0, into planes, and unpacks inputs of any width.
 *
 * The columns of the input need not begin or end with a whole word. Where they do not, the word that is shared with padding is
 * written together with the input.
 */
#include "nas_depthwise_planes.h"

#include "nas_bits.h"
#include "nas_depthwise_bytes.h"

/* Columns column .. past - 1, from an even one on, in one row of all planes. */
static NAS_RARE void fill(const nas_depthwise_job *job, uint32_t row, uint32_t column, uint32_t past)
{
    const uint32_t zeros = job->layer->in_zero * NAS_TWICE;
    uint8_t *to = job->planes + 4U * (job->rows * (column >> 1) + row);
    for (; column < past; column += 2U, to += 4U * job->rows) {
        nas_set_planes(to, job->plane, zeros, zeros, zeros, zeros);
    }
}

NAS_RARE void nas_depthwise_pad(const nas_depthwise_job *job)
{
    const uint32_t left = job->begin & ~1U, right = (job->stop + 1U) & ~1U;
    for (uint32_t row = 0U; row < job->rows; row++) {
        if (row < job->first || row >= job->past) {
            fill(job, row, 0U, job->wanted);
            continue;
        }
        if (left != 0U) {
            fill(job, row, 0U, left);
        }
        if (right < job->wanted) {
            fill(job, row, right, job->wanted);
        }
    }
}

/* Where column `begin` of a channel lies in the ring, row i of the planes. */
NAS_INLINE uint32_t bit_of_row(const nas_depthwise_job *job, uint32_t i, uint32_t channel)
{
    const uint32_t kernel = job->layer->kernel, slot = job->slot + i - job->first;
    return (slot < kernel ? slot : slot - kernel) * job->row_bits + job->start + channel * job->layer->in_bits;
}

/* Four channels of columns p and q, in the low bits of a word each and below bits without meaning, to one word of each plane. */
NAS_INLINE void store_column_pair(uint8_t *to, uint32_t plane, uint32_t p, uint32_t q, uint32_t bits, uint32_t mask)
{
    const uint32_t first = nas_lower_halves(p, q), third = nas_lower_halves(p >> (2U * bits), q >> (2U * bits));
    nas_set_planes(to, plane, (first << 1) & mask, (first >> (bits - 1U)) & mask, (third << 1) & mask, (third >> (bits - 1U)) & mask);
}

/* The same of a column that shares a word with padding. */
static NAS_RARE void store_edge(uint8_t *to, uint32_t plane, uint32_t p, uint32_t q, uint32_t bits)
{
    store_column_pair(to, plane, p, q, bits, ((1U << bits) - 1U) * NAS_TWICE);
}

/* Where pixels begin at whole bytes: at most 7 bits before four channels, which a word then holds. */
static NAS_SMALL void expand_bits(const nas_depthwise_job *job, uint32_t channel)
{
    const uint32_t bits = job->layer->in_bits, pixel = job->layer->in_channels * bits / 8U, next = 4U * job->rows;
    const uint32_t mask = ((1U << bits) - 1U) * NAS_TWICE, plane = job->plane, zero = job->layer->in_zero;
    const uint32_t zeros = zero * (1U + (1U << bits) + (1U << (2U * bits)) + (1U << (3U * bits)));
    uint8_t *row = nas_depthwise_top(job);
    for (uint32_t i = job->first; i < job->past; i++, row += 4) {
        const uint32_t at = bit_of_row(job, i, channel), shift = at & 7U;
        const uint8_t *from = job->ring + at / 8U;
        uint8_t *to = row;
        if ((job->begin & 1U) != 0U) {
            store_edge(to, plane, zeros, nas_word_at(from) >> shift, bits);
            to += next;
            from += pixel;
        }
        for (uint8_t *const end = to + next * job->pairs; to != end; to += next, from += 2U * pixel) {
            store_column_pair(to, plane, nas_word_at(from) >> shift, nas_word_at(from + pixel) >> shift, bits, mask);
        }
        if ((job->stop & 1U) != 0U) {
            store_edge(to, plane, nas_word_at(from) >> shift, zeros, bits);
        }
    }
}

/* Any width and any number of channels: one value at a time. */
static NAS_RARE void expand_any(const nas_depthwise_job *job, uint32_t channel)
{
    const uint32_t bits = job->layer->in_bits, zero = 2U * job->layer->in_zero;
    const uint32_t channels = job->layer->in_channels - channel, held = channels < NAS_PLANES ? channels : NAS_PLANES;
    uint8_t *row = nas_depthwise_top(job);
    for (uint32_t i = job->first; i < job->past; i++, row += 4) {
        for (uint32_t j = 0U; j < held; j++) {
            uint32_t element = bit_of_row(job, i, channel + j) / bits;
            uint8_t *to = row + j * job->plane;
            for (uint32_t column = job->begin & ~1U; column < job->stop + (job->stop & 1U); column++) {
                uint16_t value = (uint16_t)zero;
                if (column >= job->begin && column < job->stop) {
                    value = (uint16_t)(2U * nas_get(job->ring, element, bits));
                    element += job->layer->in_channels;
                }
                NAS_COPY(to, &value, sizeof value);
                to += (column & 1U) != 0U ? 4U * job->rows - 2U : 2U;
            }
        }
    }
}

nas_depthwise_expand *nas_depthwise_expander(const nas_layer *layer)
{
    const uint32_t bits = layer->in_bits;
    if (bits == 8U && nas_depthwise_expands_bytes(layer->kernel)) {
        return nas_depthwise_expand_bytes;
    }
    return ((layer->in_channels * bits) & 7U) == 0U && layer->in_channels % NAS_PLANES == 0U ? expand_bits : expand_any;
}
