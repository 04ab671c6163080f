/* Dense layers: elements of bit streams to bytes and to other widths. Nothing here is for callers of the runtime. */
#ifndef NAS_DENSE_STREAMS_H
#define NAS_DENSE_STREAMS_H

#include "nas_dense_words.h"

/* `count` elements of a bit stream of `size` bytes, one byte each. */
NAS_SMALL void nas_fetch(const uint8_t *stream, uint32_t size, uint32_t element, uint32_t count, uint32_t bits, uint8_t *to);

/* `count` elements from one width to another, in place. */
NAS_RARE void nas_change_width(uint8_t *stream, uint32_t count, uint32_t from, uint32_t to);

#endif
