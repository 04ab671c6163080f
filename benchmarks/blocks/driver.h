#ifndef DRIVER_H
#define DRIVER_H

#include <stdint.h>

#define MOST_LAYERS 64U
#define NO_STEP MOST_LAYERS

const uint32_t *keep(const uint32_t *words, uint32_t number);
uint8_t *arena_of(uint32_t bytes);
const uint8_t *take(const uint8_t *row, uint32_t bytes);
int counts(unsigned step); /* called behind each, and before the first with NO_STEP; not 0: values are not looked at */
unsigned run_network(const uint32_t *word);

#endif
