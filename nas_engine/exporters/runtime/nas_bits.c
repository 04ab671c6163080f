/* Several elements of a bit stream at once. */
#include "nas_bits.h"

#include "nas_words.h"

NAS_SMALL void nas_put_some(uint8_t *base, uint32_t at, uint32_t count, uint32_t value)
{
    const uint32_t shift = at & 7U, first = 8U - shift;
    uint8_t *byte = base + (at >> 3);
    uint32_t mask = (1U << count) - 1U;
    if (shift != 0U) {
        *byte = (uint8_t)((*byte & ~(mask << shift)) | ((value & mask) << shift));
        byte++;
        mask >>= first;
        value >>= first;
    }
    for (; mask > 255U; mask >>= 8, value >>= 8) {
        *byte++ = (uint8_t)value;
    }
    if (mask != 0U) {
        *byte = (uint8_t)((*byte & ~mask) | (value & mask));
    }
}
