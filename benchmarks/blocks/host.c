/* On this machine: every array has memory of its own, so that sanitizers see what is read beyond it. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *held[2U * MOST_LAYERS + 2U];
static unsigned count;

static void *hold(size_t bytes)
{
    return held[count++] = malloc(bytes != 0U ? bytes : 1U);
}

const uint32_t *keep(const uint32_t *words, uint32_t number)
{
    return memcpy(hold(4U * (size_t)number), words, 4U * (size_t)number);
}

uint8_t *arena_of(uint32_t bytes)
{
    return memset(hold(bytes), 0xA5, bytes);
}

const uint8_t *take(const uint8_t *row, uint32_t bytes)
{
    static uint8_t *line;
    free(line);
    line = malloc(bytes);
    return memcpy(line, row, bytes);
}

int counts(unsigned step)
{
    (void)step;
    return 0;
}

int main(void)
{
    uint32_t size;
    while (fread(&size, 4U, 1U, stdin) == 1U) {
        uint32_t *const words = malloc(4U * (size_t)size);
        if (fread(words, 4U, size, stdin) != size) {
            return 2;
        }
        const uint8_t wrong = (uint8_t)run_network(words);
        fwrite(&wrong, 1U, 1U, stdout);
        fflush(stdout);
        while (count != 0U) {
            free(held[--count]);
        }
        free(words);
    }
    return 0;
}
