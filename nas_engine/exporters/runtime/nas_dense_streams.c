/* Elements of bit streams to bytes and to other widths. */
#include "nas_dense_streams.h"

#include "nas_bits.h"

/* Whether four elements at a bit lie in one word of those that may be read, and do not leave it. */
NAS_INLINE int four_in_word(uint32_t size, uint32_t bit, uint32_t bits)
{
    return (bit >> 3) + 4U <= size && (bit & 7U) + 4U * bits <= 32U;
}

void nas_fetch(const uint8_t *stream, uint32_t size, uint32_t element, uint32_t count, uint32_t bits, uint8_t *to)
{
    uint32_t bit = element * bits;
    while (count >= 4U && four_in_word(size, bit, bits)) {
        nas_store_word(to, nas_spread(nas_word_at(stream + (bit >> 3)) >> (bit & 7U), bits) >> (8U - bits));
        bit += 4U * bits;
        to += 4;
        count -= 4U;
    }
    for (; count; count--, bit += bits) {
        *to++ = (uint8_t)nas_get(stream, bit / bits, bits);
    }
}

/* To wider ones from the last on, to narrower ones from the first on: an element's new place never covers an element that is
 * still to be moved. */
void nas_change_width(uint8_t *stream, uint32_t count, uint32_t from, uint32_t to)
{
    for (uint32_t done = 0; done < count; done++) {
        const uint32_t element = to > from ? count - 1U - done : done;
        nas_put(stream, element, to, nas_get(stream, element, from));
    }
}
