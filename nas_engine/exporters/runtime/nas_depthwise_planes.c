/* Writes padding, the stored value of the real 0, into planes, and unpacks inputs of less than 8 bits.
 *
 * The columns of the input need not begin or end with a whole word. Where they do not, the word that is shared with padding is
 * written together with the input.
 */
#include "nas_depthwise_planes.h"

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

/* 4 or 2 bits, where four channels begin at a whole byte: `both` has them in 16 bits, of either column in a half of its own. */
NAS_INLINE void store_nibbles(uint8_t *to, uint32_t plane, uint32_t both, uint32_t bits)
{
    const uint32_t mask = ((1U << bits) - 1U) * NAS_TWICE;
    const uint32_t second = both >> (bits - 1U), third = second >> bits, fourth = third >> bits;
    nas_set_planes(to, plane, (both << 1) & mask, second & mask, third & mask, fourth & mask);
}

static NAS_SMALL void expand_nibbles(const nas_depthwise_job *job, uint32_t channel)
{
    const uint32_t bits = job->layer->in_bits, pixel = job->layer->in_channels * bits / 8U, next = 4U * job->rows;
    const uint32_t zeros = job->layer->in_zero * (bits == 4U ? 0x1111U : 0x55U), plane = job->plane;
    uint8_t *row = nas_depthwise_top(job);
    for (uint32_t i = job->first; i < job->past; i++, row += 4) {
        const uint8_t *from = job->ring + bit_of_row(job, i, channel) / 8U;
        uint8_t *to = row;
        if ((job->begin & 1U) != 0U) {
            store_nibbles(to, plane, nas_lower_halves(zeros, nas_half_at(from)), bits);
            to += next;
            from += pixel;
        }
        for (uint8_t *const end = to + next * job->pairs; to != end; to += next, from += 2U * pixel) {
            store_nibbles(to, plane, nas_lower_halves(nas_half_at(from), nas_half_at(from + pixel)), bits);
        }
        if ((job->stop & 1U) != 0U) {
            store_nibbles(to, plane, nas_lower_halves(nas_half_at(from), zeros), bits);
        }
    }
}

/* Any width: four channels of a column at a bit of the ring, and above them bits without meaning. */
NAS_INLINE uint32_t load_four(const uint8_t *ring, uint32_t at, uint32_t bits)
{
    const uint8_t *const from = ring + (at >> 3);
    const uint32_t shift = at & 7U, word = nas_word_at(from) >> shift;
    return shift + 4U * bits > 32U ? word | (uint32_t)from[4] << (32U - shift) : word;
}

/* Columns p and q, four channels each, to one word of each plane. */
static NAS_SMALL void store_column_pair(uint8_t *to, uint32_t plane, uint32_t p, uint32_t q, uint32_t bits)
{
    const uint32_t mask = (1U << bits) - 1U;
    for (uint32_t j = 0U; j < NAS_PLANES; j++, to += plane, p >>= bits, q >>= bits) {
        nas_set_word(to, ((p & mask) << 1) | ((q & mask) << 17));
    }
}

static NAS_SMALL void expand_any(const nas_depthwise_job *job, uint32_t channel)
{
    const uint32_t bits = job->layer->in_bits, pixel = job->layer->in_channels * bits, next = 4U * job->rows;
    const uint32_t zeros = job->layer->in_zero * (1U + (1U << bits) + (1U << (2U * bits)) + (1U << (3U * bits)));
    uint8_t *row = nas_depthwise_top(job);
    for (uint32_t i = job->first; i < job->past; i++, row += 4) {
        uint32_t at = bit_of_row(job, i, channel), p = zeros; /* the even column of a word, kept until the odd one is there */
        uint8_t *to = row;
        for (uint32_t column = job->begin; column != job->stop; column++, at += pixel) {
            const uint32_t q = load_four(job->ring, at, bits);
            if ((column & 1U) != 0U) {
                store_column_pair(to, job->plane, p, q, bits);
                to += next;
            }
            p = q;
        }
        if ((job->stop & 1U) != 0U) {
            store_column_pair(to, job->plane, p, zeros, bits);
        }
    }
}

nas_depthwise_expand *nas_depthwise_expander(const nas_layer *layer)
{
    const uint32_t bits = layer->in_bits;
    if (bits == 8U && nas_depthwise_expands_bytes(layer->kernel)) {
        return nas_depthwise_expand_bytes;
    }
    return (bits == 4U || bits == 2U) && ((layer->in_channels * bits) & 7U) == 0U ? expand_nibbles : expand_any;
}
