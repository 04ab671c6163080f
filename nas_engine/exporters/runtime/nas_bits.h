/* Bit streams: element `index` of a tensor of `bits`-bit elements. No byte outside the element is read or written. */
#ifndef NAS_BITS_H
#define NAS_BITS_H

#include <stdint.h>

static inline uint32_t nas_get(const uint8_t *base, uint32_t index, uint32_t bits)
{
    const uint32_t at = index * bits, shift = at & 7U;
    const uint8_t *byte = base + (at >> 3);
    uint32_t window = byte[0];
    if (shift + bits > 8U) {
        window |= (uint32_t)byte[1] << 8;
    }
    return (window >> shift) & ((1U << bits) - 1U);
}

static inline void nas_put(uint8_t *base, uint32_t index, uint32_t bits, uint32_t value)
{
    const uint32_t at = index * bits, shift = at & 7U, mask = ((1U << bits) - 1U) << shift;
    uint8_t *byte = base + (at >> 3);
    byte[0] = (uint8_t)((byte[0] & ~mask) | (value << shift));
    if (shift + bits > 8U) {
        byte[1] = (uint8_t)((byte[1] & ~(mask >> 8)) | ((value << shift) >> 8));
    }
}

/* Write the low `count` bits of a value, at most 28, at bit `at`. */
void nas_put_some(uint8_t *base, uint32_t at, uint32_t count, uint32_t value);

#endif
