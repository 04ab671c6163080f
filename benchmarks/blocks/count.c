/* On an emulated core: networks come from the file "images"; "logits" gets for each the number of its layers, and what the board's
 * counter came to in each. Values are not looked at. */
#include "board.h"
#include "driver.h"
#include "semihosting.h"

#include <string.h>

#define COUNTER (*(volatile const uint32_t *)(uintptr_t)BOARD_COUNTER)

static uint32_t words[560U << 10];
static uint8_t memory[1200U << 10] __attribute__((aligned(8)));
static uint32_t ticks[MOST_LAYERS], began;

const uint32_t *keep(const uint32_t *from, uint32_t number)
{
    (void)number;
    return from;
}

uint8_t *arena_of(uint32_t bytes)
{
    (void)bytes;
    return memory;
}

const uint8_t *take(const uint8_t *row, uint32_t bytes)
{
    (void)bytes;
    return row;
}

int counts(unsigned step)
{
    if (step < MOST_LAYERS) {
        ticks[step] += COUNTER - began;
    }
    began = COUNTER;
    return 1;
}

int main(void)
{
    const uint32_t in = open_file("images", 6U, OPEN_READ), out = open_file("logits", 6U, OPEN_WRITE);
    uint32_t size = 0U;
    while (transfer(SYS_READ, in, &size, 4U) == 0U) {
        if (4U * size > sizeof words || transfer(SYS_READ, in, words, 4U * size) != 0U || words[0] > sizeof memory ||
            words[1] > MOST_LAYERS) {
            return 2;
        }
        memset(ticks, 0, sizeof ticks);
        (void)run_network(words);
        transfer(SYS_WRITE, out, &words[1], 4U);
        transfer(SYS_WRITE, out, ticks, 4U * words[1]);
    }
    return 0;
}
